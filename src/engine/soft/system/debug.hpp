#pragma once
#include "base/types.hpp"

/// The fields of DR7 (SDM vol. 3, 18.2.4).
namespace bhyve::soft {

enum class BreakOn : u8 { execute, write, port, access };

inline constexpr unsigned breakpoint_count = 4;

[[nodiscard]] constexpr bool breakpoint_enabled(u64 dr7, unsigned n) { return dr7 >> 2 * n & 3; }
[[nodiscard]] constexpr BreakOn breakpoint_kind(u64 dr7, unsigned n) {
  return static_cast<BreakOn>(dr7 >> (16 + 4 * n) & 3);
}
/// Bytes that it watches: 1, 2, 4 or 8, from an address aligned to that.
[[nodiscard]] constexpr unsigned breakpoint_length(u64 dr7, unsigned n) {
  constexpr u8 lengths[] = {1, 2, 8, 4};
  return lengths[dr7 >> (18 + 4 * n) & 3];
}
/// Whether any enabled breakpoint watches data accesses.
[[nodiscard]] constexpr bool watches_data(u64 dr7) {
  for (unsigned n = 0; n < breakpoint_count; ++n)
    if (breakpoint_enabled(dr7, n) && breakpoint_kind(dr7, n) != BreakOn::execute &&
        breakpoint_kind(dr7, n) != BreakOn::port)
      return true;
  return false;
}

}  // namespace bhyve::soft
