#pragma once
#include "base/address.hpp"
#include "base/types.hpp"

namespace bhyve::pmap {

/// PT_X86: ordinary page-table entries, for tables that we own. PT_EPT: Intel's EPT layout, for
/// guests (facts sheet 7).
enum class PmapType : u8 { pt_x86, pt_ept };

/// Rights and attributes of one mapping, independent of the entry format.
struct Mapping final {
  ArenaAddr frame;
  bool write = false;
  bool exec = true;
  bool uncacheable = false;
  bool wired = false;
};

/// What a walk for one address met.
struct Lookup final {
  u64 entries[4] = {};  ///< raw entries from the top
  unsigned count = 0;   ///< entries walked; the last one is the leaf or the missing one
  bool present = false;
  u64 frame = 0;  ///< arena address of the byte walked for, when present
};

/// Levels count from the leaf tables: 1 holds 4 KiB entries, 2 those of 2 MiB, 3 of 1 GiB, 4 the
/// top.
inline constexpr unsigned top_level = 4;
inline constexpr unsigned va_bits = 48;
[[nodiscard]] constexpr unsigned level_shift(unsigned level) {
  return page_shift + 9 * (level - 1);
}
[[nodiscard]] constexpr u64 level_size(unsigned level) {
  return u64{1} << level_shift(level);
}

}  // namespace bhyve::pmap
