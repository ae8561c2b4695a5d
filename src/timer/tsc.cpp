#include "timer/tsc.hpp"

#include <cpuid.h>

#include <algorithm>

namespace bhyve::timer {

namespace {

constexpr u64 granularity = 1'000;
constexpr Nanos measuring_time = 20'000'000;
constexpr int measuring_tries = 16, converting_tries = 2;
/// How far the processor's own word may be from the measurement, in parts per million.
constexpr u64 agreement_ppm = 30;

struct Moment {
  u64 tsc;
  Nanos time;
};

/// Both clocks at one moment: of several tries the one with the least time in between.
Moment both_clocks(int tries) {
  Moment best{};
  u64 best_gap = ~u64{0};
  for (int i = 0; i < tries; ++i) {
    const u64 before = TscClock::host_now();
    const Nanos time = monotonic_now();
    const u64 gap = TscClock::host_now() - before;
    if (gap < best_gap) {
      best_gap = gap;
      best = {before + gap / 2, time};
    }
  }
  return best;
}

/// What CPUID says (Intel SDM, leaves 15h and 16h), 0 if nothing.
u64 hz_from_cpuid() {
  unsigned denominator = 0, numerator = 0, crystal = 0, d = 0;
  if (__get_cpuid(0x15, &denominator, &numerator, &crystal, &d) && denominator && numerator &&
      crystal)
    return u64{crystal} * numerator / denominator;
  unsigned base_mhz = 0, b = 0, c = 0;
  if (__get_cpuid(0x16, &base_mhz, &b, &c, &d)) return u64{base_mhz & 0xffff} * 1'000'000;
  return 0;
}

}  // namespace

TscClock TscClock::measure() {
  const Moment start = both_clocks(measuring_tries);
  while (monotonic_now() < start.time + measuring_time) __builtin_ia32_pause();
  const Moment end = both_clocks(measuring_tries);
  const auto measured = static_cast<u64>(static_cast<unsigned __int128>(end.tsc - start.tsc) *
                                         nanos_per_second / (end.time - start.time));
  const u64 stated = hz_from_cpuid();
  const u64 apart = std::max(stated, measured) - std::min(stated, measured);
  const u64 hz = apart <= measured / 1'000'000 * agreement_ppm ? stated : measured;
  return TscClock{std::max((hz + granularity / 2) / granularity, u64{1}) * granularity};
}

Nanos TscClock::to_nanos(u64 host_tsc) const {
  const Moment now = both_clocks(converting_tries);
  if (host_tsc <= now.tsc) {
    const unsigned __int128 ago =
        static_cast<unsigned __int128>(now.tsc - host_tsc) * nanos_per_second / hz;
    return ago >= now.time ? 0 : now.time - static_cast<Nanos>(ago);
  }
  const unsigned __int128 ahead =
      (static_cast<unsigned __int128>(host_tsc - now.tsc) * nanos_per_second + hz - 1) / hz;
  return ahead >= never - now.time ? never : now.time + static_cast<Nanos>(ahead);
}

u64 TscClock::from_nanos(Nanos time) const {
  const Moment now = both_clocks(converting_tries);
  if (time <= now.time) return now.tsc - std::min(ticks_from_nanos(now.time - time, hz), now.tsc);
  const unsigned __int128 ahead =
      static_cast<unsigned __int128>(time - now.time) * hz / nanos_per_second;
  return ahead >= ~u64{0} - now.tsc ? ~u64{0} : now.tsc + static_cast<u64>(ahead);
}

u64 GuestTsc::to_host(u64 guest) const {
  const u64 scaled = guest - offset;
  const unsigned __int128 host =
      ((static_cast<unsigned __int128>(scaled) << shift) + mult - 1) / mult;
  return host >> 64 ? ~u64{0} : static_cast<u64>(host);
}

Nanos deadline_from_guest_tsc(const TscClock& clock, const GuestTsc& tsc, u64 guest) {
  const u64 host_now = TscClock::host_now();
  const u64 guest_now = tsc.from_host(host_now);
  if (guest <= guest_now) return monotonic_now();
  // Only the distance counts: guest - offset may wrap for a guest that set its TSC back.
  const GuestTsc distance{tsc.mult, tsc.shift, 0};
  const u64 ahead = distance.to_host(guest - guest_now);
  return clock.to_nanos(ahead > ~u64{0} - host_now ? ~u64{0} : host_now + ahead);
}

}  // namespace bhyve::timer
