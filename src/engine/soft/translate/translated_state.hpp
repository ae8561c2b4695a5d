#pragma once
#include <array>
#include <atomic>

#include "base/types.hpp"

namespace bhyve::soft {

class Tlb;

/// What the current mode allows translated code to do without a call (TranslatedFrame::rights).
enum class Right : u8 {
  supervisor = 1,   ///< CPL 0 of 64-bit or flat 32-bit code
  interrupts = 2,   ///< ... and no event waits for interrupts to be enabled: STI
  smap = 4,         ///< ... and STAC and CLAC exist
  tsc = 8,          ///< RDTSC does not fault
  tscp = 16,        ///< RDTSCP neither
  fs = 32, gs = 64, ///< of 32-bit code: the segment is without limit, whatever its base
};

/// What translated code reads and writes all the time: the first member of Cpu, so that it is reached
/// from RSP with displacements of one byte. Owner: the vCPU's thread, but for `poll`.
struct TranslatedFrame final {
  u64 page = 0;           ///< linear address of the page that the running code lies in
  /// Names the current linear-to-physical mapping of code, the privilege and, by bit 63, 32-bit code.
  u64 key = 0;
  Tlb* tlb = nullptr;     ///< for accesses with the current privilege
  std::atomic<u32> poll{0};  ///< attention is wanted: set by any thread, cleared by the vCPU's
  /// Bit n: instructions of Gate n may run natively now: allowed by the control registers, and the
  /// guest's vector state is live in the host's registers.
  u8 gates = 0;
  u8 rights = 0;          ///< mask of Right
  u64 stack_key = no_stack;  ///< Tlb key of a page that the stack was in and that may be written ...
  u64 stack_addend = 0;      ///< ... and what turns a linear address in it into the host's
  u64 linear = 0;         ///< address that missed the TLB; operand address of an x87 instruction
  std::array<u64, 4> slot{};       ///< addends of windows (BlockWindows), within a block
  std::array<u64, 2> temporary{};  ///< within an instruction
  u64 zero = 0;              ///< always: what a failed check's offset is masked to

  static constexpr u64 no_stack = u64{1} << 63;  ///< no canonical address has a key like that
};
static_assert(sizeof(TranslatedFrame) <= 128);

/// What translated code keeps in memory beside TranslatedFrame and the guest's registers. A member of
/// Cpu: translated code finds it at a fixed offset from RSP. Owner: the vCPU's thread.
struct TranslatedState final {
  u64 host_rsp = 0;       ///< of the thread, while translated code runs on the Cpu's own stack
  u64 trap_pc = 0;        ///< host instruction that trapped
  const u8* trap_entry = nullptr;  ///< where the signal handler sends it
  u32 trap_number = 0;
  u32 trap_flags = 0;     ///< packed flags at the trap
  u32 exit = 0;           ///< index of the exit that left; see Translator
  /// TranslatedFrame::tlb for a supervisor without and with RFLAGS.AC.
  std::array<Tlb*, 2> tlb_by_ac{};

  /// Where indirect jumps look: the target's linear address combined with TranslatedFrame::key.
  struct Jump {
    u64 tag = 0;
    const u8* code = nullptr;
  };
  static constexpr unsigned jump_count = 65536;
  std::array<Jump, jump_count> jumps{};
  [[nodiscard]] static unsigned jump_index(u64 target) {
    return static_cast<unsigned>((target ^ target >> page_shift) & (jump_count - 1));
  }
};

}  // namespace bhyve::soft
