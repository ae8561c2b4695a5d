#pragma once
#include "base/types.hpp"

namespace bhyve::bus {

/// What an access of `size` bytes reads where nothing answers (size above 8 counts as 8).
[[nodiscard]] constexpr u64 all_ones(unsigned size) {
  return size >= 8 ? ~u64{0} : (u64{1} << (8 * size)) - 1;
}

}  // namespace bhyve::bus
