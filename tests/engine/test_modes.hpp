#pragma once
#include "engine/vcpu_state.hpp"
#include "test_machine.hpp"

namespace bhyve::test {

/// Where the helpers below keep tables in guest memory.
inline constexpr u64 gdt_at = 0x1000, page_tables_at = 0x4000;

/// Selectors of the GDT that they write (64-bit mode order of SYSCALL/SYSRET and SYSENTER).
inline constexpr u16 sel_code64 = 0x08, sel_data = 0x10, sel_code32 = 0x18, sel_code16 = 0x20,
                     sel_data16 = 0x28;

/// 64-bit mode, CPL 0, interrupts off: identity map of the first 4 GiB in 2 MiB pages
/// (supervisor, writable), flat segments, an empty IDT (any fault is a triple fault).
[[nodiscard]] engine::VcpuState enter_long_mode(TestMachine& machine, u64 rip, u64 rsp);

/// Protected mode without paging, flat 32-bit segments, CPL 0.
[[nodiscard]] engine::VcpuState enter_protected_mode(TestMachine& machine, u32 rip, u32 esp);

/// Real mode at `rip` (below 64 KiB), all segments with base 0.
[[nodiscard]] engine::VcpuState enter_real_mode(u16 rip, u16 sp);

}  // namespace bhyve::test
