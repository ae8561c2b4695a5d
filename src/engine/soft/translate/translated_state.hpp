#pragma once
#include <array>

#include "base/types.hpp"

namespace bhyve::soft {

/// What translated code keeps in memory beside the guest's registers. A member of Cpu: translated code
/// finds it at a fixed offset from RSP. Owner: the vCPU's thread.
struct TranslatedState final {
  u64 host_rsp = 0;       ///< of the thread, while translated code runs on the Cpu's own stack
  u64 page = 0;           ///< linear address of the page that the running code lies in
  u64 key = 0;            ///< names the current linear-to-physical mapping of code, and the privilege
  u64 stack_key = ~u64{0} << 63;  ///< Tlb key of the page that the stack was last in, writable ...
  u64 stack_host = 0;     ///< ... and what to add to a linear address in it for the host's
  u64 linear = 0;         ///< address that missed the TLB
  u64 temporary[4] = {};  ///< within one instruction
  u64 trap_pc = 0;        ///< host instruction that trapped
  const u8* trap_entry = nullptr;  ///< where the signal handler sends it
  u32 trap_number = 0;
  u32 trap_flags = 0;     ///< packed flags at the trap
  u32 exit = 0;           ///< index of the exit that left; see Translator
  /// Bit n: instructions of Gate n may run natively now: allowed by the control registers, and the
  /// guest's vector state is live in the host's registers.
  u8 gates = 0;
  u8 step = 0;            ///< Step of a helper that wants to leave

  /// Where indirect jumps look: page of the target combined with `key`, by the low 12 bits.
  struct Jump {
    u64 tag = 0;
    const u8* code = nullptr;
  };
  static constexpr unsigned jump_count = 4096;
  std::array<Jump, jump_count> jumps{};
};

}  // namespace bhyve::soft
