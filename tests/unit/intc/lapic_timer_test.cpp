#include "intc/lapic_timer.hpp"

#include <gtest/gtest.h>

namespace bhyve::intc {
namespace {

constexpr u64 ghz = nanos_per_second;
using Mode = LapicTimer::Mode;

TEST(LapicTimerTest, ResetStateIsOffAndDividesByTwo) {
  LapicTimer timer(ghz);
  EXPECT_EQ(timer.deadline(), never);
  EXPECT_FALSE(timer.expire(1'000'000));
  timer.set_initial_count(100, 0);
  EXPECT_EQ(timer.deadline(), 200u);
}

TEST(LapicTimerTest, DivideCodesFollowTheManual) {
  const u32 codes[] = {0x0, 0x1, 0x2, 0x3, 0x8, 0x9, 0xa, 0xb};
  const u64 divisors[] = {2, 4, 8, 16, 32, 64, 128, 1};
  for (unsigned i = 0; i < 8; ++i) {
    LapicTimer timer(ghz);
    timer.set_divide(codes[i], 0);
    timer.set_initial_count(1000, 0);
    EXPECT_EQ(timer.deadline(), 1000 * divisors[i]) << codes[i];
  }
}

TEST(LapicTimerTest, OneShotCountsDownFiresOnceAndStaysAtZero) {
  LapicTimer timer(ghz);
  timer.set_divide(0xb, 0);
  timer.set_initial_count(1000, 5000);
  EXPECT_EQ(timer.current_count(5000), 1000u);
  EXPECT_EQ(timer.current_count(5400), 600u);
  EXPECT_FALSE(timer.expire(5999));
  EXPECT_TRUE(timer.expire(6000));
  EXPECT_EQ(timer.current_count(6000), 0u);
  EXPECT_EQ(timer.deadline(), never);
  EXPECT_FALSE(timer.expire(9000));
}

TEST(LapicTimerTest, ZeroInitialCountStops) {
  LapicTimer timer(ghz);
  timer.set_initial_count(1000, 0);
  timer.set_initial_count(0, 10);
  EXPECT_EQ(timer.deadline(), never);
}

TEST(LapicTimerTest, PeriodicKeepsPhaseWhenLate) {
  LapicTimer timer(ghz);
  timer.set_mode(Mode::periodic);
  timer.set_divide(0xb, 0);
  timer.set_initial_count(1'000'000, 0);
  EXPECT_TRUE(timer.expire(1'000'300));
  EXPECT_EQ(timer.deadline(), 2'000'000u);
}

TEST(LapicTimerTest, MissedPeriodsCollapseIntoOneInterrupt) {
  LapicTimer timer(ghz);
  timer.set_mode(Mode::periodic);
  timer.set_divide(0xb, 0);
  timer.set_initial_count(1'000'000, 0);
  EXPECT_EQ(timer.current_count(3'400'000), 600'000u) << "the counter reloads without the host";
  EXPECT_TRUE(timer.expire(3'400'000));
  EXPECT_FALSE(timer.expire(3'400'000));
  EXPECT_EQ(timer.deadline(), 4'000'000u);
}

TEST(LapicTimerTest, PhaseIsExactForAClockThatNanosecondsCannotExpress) {
  LapicTimer timer(24'000'000);
  timer.set_mode(Mode::periodic);
  timer.set_divide(0xb, 0);
  timer.set_initial_count(24'001, 0);
  for (unsigned i = 1; i <= 1000; ++i) {
    ASSERT_EQ(timer.deadline(), nanos_from_ticks(u64{24'001} * i, 24'000'000));
    ASSERT_TRUE(timer.expire(timer.deadline()));
  }
}

TEST(LapicTimerTest, TinyPeriodCannotOccupyTheHost) {
  LapicTimer timer(ghz);
  timer.set_mode(Mode::periodic);
  timer.set_divide(0xb, 0);
  timer.set_initial_count(1, 0);
  EXPECT_TRUE(timer.expire(100));
  EXPECT_GE(timer.deadline(), 100 + LapicTimer::min_period);
  EXPECT_LE(timer.deadline(), 101 + LapicTimer::min_period);
}

TEST(LapicTimerTest, ChangeOfDividerKeepsTheCount) {
  LapicTimer timer(ghz);
  timer.set_divide(0xb, 0);
  timer.set_initial_count(1000, 0);
  timer.set_divide(0x0, 400);
  EXPECT_EQ(timer.current_count(400), 600u);
  EXPECT_EQ(timer.deadline(), 400 + 1200u);
}

TEST(LapicTimerTest, ChangeOfModeDisarms) {
  LapicTimer timer(ghz);
  timer.set_initial_count(1000, 0);
  timer.set_mode(Mode::one_shot);
  EXPECT_NE(timer.deadline(), never) << "the same mode is no change";
  timer.set_mode(Mode::tsc_deadline);
  EXPECT_EQ(timer.deadline(), never);
  timer.set_tsc_deadline(77, 900);
  EXPECT_EQ(timer.deadline(), 900u);
  timer.set_mode(Mode::periodic);
  EXPECT_EQ(timer.deadline(), never);
  EXPECT_EQ(timer.tsc_deadline(), 0u);
}

TEST(LapicTimerTest, TscDeadlineIgnoresTheCountsAndClearsItselfOnExpiry) {
  LapicTimer timer(ghz);
  timer.set_mode(Mode::tsc_deadline);
  timer.set_initial_count(5, 0);
  EXPECT_EQ(timer.deadline(), never);
  timer.set_tsc_deadline(1234, 600);
  EXPECT_EQ(timer.current_count(10), 0u);
  EXPECT_FALSE(timer.expire(599));
  EXPECT_TRUE(timer.expire(600));
  EXPECT_EQ(timer.tsc_deadline(), 0u);
}

TEST(LapicTimerTest, TscDeadlineIsIgnoredInOtherModes) {
  LapicTimer timer(ghz);
  timer.set_tsc_deadline(1234, 600);
  EXPECT_EQ(timer.tsc_deadline(), 0u);
  EXPECT_EQ(timer.deadline(), never);
}

TEST(LapicTimerTest, ReservedModeNeverFires) {
  LapicTimer timer(ghz);
  timer.set_mode(Mode::reserved);
  timer.set_initial_count(1, 0);
  EXPECT_FALSE(timer.expire(1'000'000));
}

TEST(LapicTimerTest, LongestCountDoesNotOverflow) {
  LapicTimer timer(1'000'000);
  timer.set_divide(0xa, 0);
  timer.set_initial_count(~u32{0}, 1);
  EXPECT_EQ(timer.deadline(), 1 + u64{~u32{0}} * 128 * 1000);
  EXPECT_EQ(timer.current_count(1), ~u32{0});
}

}  // namespace
}  // namespace bhyve::intc
