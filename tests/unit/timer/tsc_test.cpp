#include "timer/tsc.hpp"

#include <gtest/gtest.h>

namespace bhyve::timer {
namespace {

TEST(TscClock, MeasuredFrequencyHoldsOverALongerTime) {
  const TscClock clock = TscClock::measure();
  EXPECT_EQ(clock.hz % 1000, 0u);
  const Nanos start = monotonic_now();
  const u64 tsc = TscClock::host_now();
  while (monotonic_now() < start + 100'000'000) {}
  const Nanos time = monotonic_now() - start;
  const u64 ticks = TscClock::host_now() - tsc;
  const double hz = static_cast<double>(ticks) * 1e9 / static_cast<double>(time);
  EXPECT_NEAR(hz / static_cast<double>(clock.hz), 1.0, 1e-3);
}

TEST(TscClock, ConversionsAreInverseNearNow) {
  const TscClock clock = TscClock::measure();
  const Nanos later = monotonic_now() + 10'000'000;
  const Nanos back = clock.to_nanos(clock.from_nanos(later));
  EXPECT_NEAR(static_cast<double>(back) - static_cast<double>(later), 0, 1'000'000);
}

TEST(TscClock, ConversionsSaturate) {
  const TscClock slow{1000};
  EXPECT_EQ(slow.to_nanos(~u64{0}), never);
  EXPECT_EQ(slow.to_nanos(0), 0u);
  const TscClock fast{~u64{0} / 1000 * 1000};
  EXPECT_EQ(fast.from_nanos(never), ~u64{0});
  EXPECT_EQ(fast.from_nanos(0), 0u);
}

TEST(GuestTsc, WriteMovesTheOffsetOnly) {
  GuestTsc tsc;
  EXPECT_EQ(tsc.from_host(1234), 1234u);
  tsc.set(0, 5000);
  EXPECT_EQ(tsc.from_host(5007), 7u);
  EXPECT_EQ(tsc.to_host(7), 5007u);
  EXPECT_EQ(tsc.mult, 1u);
}

TEST(GuestTsc, ScaledTscReachesAValueNotBeforeItsHostTick) {
  GuestTsc tsc{.mult = 3, .shift = 2, .offset = 0};
  tsc.set(100, 1000);
  for (u64 guest = 100; guest < 200; ++guest) {
    const u64 host = tsc.to_host(guest);
    EXPECT_GE(tsc.from_host(host), guest);
    EXPECT_LT(tsc.from_host(host - 1), guest);
  }
}

TEST(GuestTsc, DeadlineIsMonotonicTimeOfTheGuestsTsc) {
  const TscClock clock = TscClock::measure();
  GuestTsc tsc;
  const Nanos now = monotonic_now();
  const Nanos past = deadline_from_guest_tsc(clock, GuestTsc{}, 1);
  EXPECT_GE(past, now);
  EXPECT_LE(past, monotonic_now());
  tsc.set(0, TscClock::host_now());
  const Nanos deadline = deadline_from_guest_tsc(clock, tsc, clock.hz / 100);
  EXPECT_NEAR(static_cast<double>(deadline - now), 10e6, 5e6);
  EXPECT_EQ(deadline_from_guest_tsc(TscClock{1000}, tsc, ~u64{0}), never);
}

}  // namespace
}  // namespace bhyve::timer
