#pragma once
#include <array>

#include "base/types.hpp"
#include "engine/soft/system/descriptor.hpp"
#include "x86/registers.hpp"

namespace bhyve::soft {

/// The dynamic fields of a TSS and the static ones that a switch loads (SDM vol. 3, 7.2.1, 7.6).
struct TaskState final {
  u32 cr3 = 0, eip = 0, eflags = 0;
  std::array<u32, 8> gpr{};
  std::array<u16, 6> selector{};  ///< in the order of x86::Seg
  u16 ldt = 0;
  bool trap = false;  ///< T: a #DB when the task begins
};

/// The smallest limits of a TSS (7.3).
inline constexpr u32 tss32_last = 0x67, tss16_last = 0x2b;

/// Reads a TSS at `base`. False: failed().
[[nodiscard]] bool read_task(Cpu& cpu, u64 base, bool wide, TaskState& out);
/// Writes the dynamic fields. False: failed(); some may be written.
[[nodiscard]] bool write_task(Cpu& cpu, u64 base, bool wide, const TaskState& task);

}  // namespace bhyve::soft
