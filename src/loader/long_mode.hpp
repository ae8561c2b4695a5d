#pragma once
#include <vector>

#include "base/address.hpp"
#include "loader/entry_state.hpp"

namespace bhyve::loader {

/// Where loaders put what the guest needs only until it has its own: page tables, descriptors and
/// parameters, all in the first 640 KiB. A GuestMemory must have them: lowmem >= low_area_end.
namespace low_area {
inline constexpr Gpa gdt{0x8000}, boot_params{0x9000}, page_tables{0x1'0000}, command_line{0x6'0000};
inline constexpr u64 command_line_size = 0x1'0000;
inline constexpr u64 end = 0x7'0000;
}  // namespace low_area

/// At most this much is mapped; a page directory takes 4 KiB a GiB, of low memory.
inline constexpr u64 identity_map_limit = 64 * GiB;

/// Identity map of at least 4 GiB, and up to `top` within the limit, by 2 MiB pages (SDM vol. 3,
/// 4.5): the bytes to put at low_area::page_tables.
[[nodiscard]] std::vector<u8> make_identity_map(u64 top);
/// The flat descriptors of the Linux boot protocol: 10h code (64-bit), 18h data; the bytes to put
/// at low_area::gdt.
[[nodiscard]] std::vector<u8> make_flat_gdt();
/// 64-bit mode with both in place, interrupts off, all else for the caller to fill in.
[[nodiscard]] EntryState make_long_mode_state();

}  // namespace bhyve::loader
