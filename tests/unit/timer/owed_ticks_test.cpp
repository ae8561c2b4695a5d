#include "timer/owed_ticks.hpp"

#include <gtest/gtest.h>

namespace bhyve::timer {
namespace {

constexpr Nanos period = 4'000'000;

/// How many ticks follow the one that is outstanding.
unsigned take_all(OwedTicks& owed) {
  unsigned n = 0;
  while (owed.take()) ++n;
  return n;
}

TEST(OwedTicks, NothingIsOwedToAGuestThatTakesEachInTime) {
  OwedTicks owed;
  for (Nanos due = 0; due < 100 * period; due += period) {
    owed.deliver(due, period, due + period - 1);
    EXPECT_TRUE(owed.outstanding());
    EXPECT_FALSE(owed.take());
    EXPECT_FALSE(owed.outstanding());
  }
}

TEST(OwedTicks, CountsTheWholePeriodsThatALateTickSwallows) {
  OwedTicks owed;
  owed.deliver(100, period, 100 + 3 * period);
  EXPECT_EQ(take_all(owed), 3u);
}

TEST(OwedTicks, CountsTheTicksThatComeBeforeTheGuestTookTheLast) {
  OwedTicks owed;
  for (Nanos due = 0; due < 5 * period; due += period) owed.deliver(due, period, due);
  owed.deliver(5 * period, period, 7 * period);
  EXPECT_EQ(take_all(owed), 7u);
  EXPECT_FALSE(owed.outstanding());
}

TEST(OwedTicks, DoesNotReplayTheNightThatAGuestWasStopped) {
  OwedTicks owed;
  owed.deliver(0, period, 3600 * nanos_per_second);
  EXPECT_EQ(take_all(owed), 0u);
}

TEST(OwedTicks, GivesUpOnAGuestThatTakesNoneUntilItDoes) {
  OwedTicks owed;
  for (unsigned n = 0; n < OwedTicks::most + 20; ++n) owed.deliver(0, period, 0);
  EXPECT_TRUE(owed.outstanding());
  EXPECT_EQ(take_all(owed), 0u);
  owed.deliver(0, period, 0);
  owed.deliver(0, period, 0);
  EXPECT_EQ(take_all(owed), 1u);
}

TEST(OwedTicks, OneShotsAndTicksThatNobodyCouldTakeAreNotOwed) {
  OwedTicks owed;
  owed.deliver(0, 0, nanos_per_second);
  owed.deliver(0, OwedTicks::shortest_period - 1, nanos_per_second);
  EXPECT_FALSE(owed.outstanding());
  owed.deliver(never, period, nanos_per_second);
  EXPECT_EQ(take_all(owed), 0u);
}

TEST(OwedTicks, ForgetsAll) {
  OwedTicks owed;
  owed.deliver(0, period, 2 * period);
  owed.forget();
  EXPECT_FALSE(owed.outstanding());
  EXPECT_EQ(take_all(owed), 0u);
}

}  // namespace
}  // namespace bhyve::timer
