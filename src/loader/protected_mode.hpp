#pragma once
#include <vector>

#include "loader/entry_state.hpp"

namespace bhyve::loader {

/// 32-bit protected mode without paging, interrupts off: flat 4 GiB segments, code 10h and data
/// 18h, as multiboot (0.6.96, 3.2), PVH and the 32-bit Linux protocol ask for. GDTR is empty: who
/// may reload segments is given a table by the caller.
[[nodiscard]] EntryState make_protected_mode_state();

/// The same as descriptors, for programs that reload segments: the bytes to put where GDTR points.
[[nodiscard]] std::vector<u8> make_flat_gdt_32();
inline constexpr u16 flat_gdt_32_limit = 4 * 8 - 1;

}  // namespace bhyve::loader
