#pragma once
#include <ctime>

#include "base/types.hpp"

namespace bhyve {

/// Nanoseconds of CLOCK_MONOTONIC: the time base of every callout and every chip. Chips never read
/// a clock themselves: `now` is passed in, so tests use any time they like.
using Nanos = u64;

inline constexpr Nanos never = ~Nanos{0};
inline constexpr Nanos nanos_per_second = 1'000'000'000;

[[nodiscard]] inline Nanos monotonic_now() {
  timespec ts{};
  ::clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<Nanos>(ts.tv_sec) * nanos_per_second + static_cast<Nanos>(ts.tv_nsec);
}

/// ticks of a clock of `hz` in `ns` nanoseconds, rounded down; no overflow for any ns.
[[nodiscard]] constexpr u64 ticks_from_nanos(Nanos ns, u64 hz) {
  return static_cast<u64>(static_cast<unsigned __int128>(ns) * hz / nanos_per_second);
}
/// nanoseconds after which `ticks` of a clock of `hz` have passed, rounded up.
[[nodiscard]] constexpr Nanos nanos_from_ticks(u64 ticks, u64 hz) {
  return static_cast<Nanos>(
      (static_cast<unsigned __int128>(ticks) * nanos_per_second + hz - 1) / hz);
}

}  // namespace bhyve
