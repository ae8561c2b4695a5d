// Which of two executors runs a program, by what its turns cost: simulated programs and a simulated clock.
#include "engine/soft/direct/executor_choice.hpp"

#include <gtest/gtest.h>

namespace bhyve::soft {
namespace {

class ExecutorChoiceTest : public testing::Test {
 protected:
  static constexpr ExecutorChoice::Scale scale{1000, 500, 5, 500, 30'000};

  /// Turns of a program that cost so much, with `kernel` ticks between them.
  void run(u64 turns, u64 directly, u64 translated, u64 kernel = 5) {
    for (u64 n = 0; n < turns; ++n) {
      const bool is_direct = choice.is_direct();
      const u64 ticks = is_direct ? directly : translated;
      now += ticks + kernel;
      (is_direct ? direct_turns : translated_turns) += 1;
      (is_direct ? direct_ticks : translated_ticks) += ticks;
      choice.ended(ticks, is_direct, now);
    }
  }
  void count_anew() { direct_turns = translated_turns = direct_ticks = translated_ticks = 0; }

  ExecutorChoice choice{scale};
  u64 now = 1'000'000;
  u64 direct_turns = 0, translated_turns = 0, direct_ticks = 0, translated_ticks = 0;
};

TEST_F(ExecutorChoiceTest, BeginsDirectlyAndTriesTheOther) {
  EXPECT_TRUE(choice.is_direct());
  run(15, 10, 30);
  EXPECT_TRUE(choice.is_direct());
  run(1, 10, 30);
  EXPECT_FALSE(choice.is_direct());
}

TEST_F(ExecutorChoiceTest, PrefersTheFaster) {
  run(10'000, 10, 30);
  EXPECT_GT(direct_ticks, 9 * translated_ticks);
  choice = ExecutorChoice(scale);
  count_anew();
  run(10'000, 30, 10);
  EXPECT_GT(translated_ticks, 9 * direct_ticks);
}

TEST_F(ExecutorChoiceTest, ASampleEndsByTimeToo) {
  run(3, 400, 450);
  EXPECT_FALSE(choice.is_direct()) << "three turns took more than a sample may";
}

TEST_F(ExecutorChoiceTest, LongTurnsStayDirectAndNothingElseIsTried) {
  run(2000, 700, 10);
  EXPECT_EQ(translated_turns, 0u);
  EXPECT_TRUE(choice.turns_are_long());
  run(100, 10, 30);
  EXPECT_FALSE(choice.turns_are_long());
}

TEST_F(ExecutorChoiceTest, ALongTurnOfTranslatedCodeGoesOnDirectly) {
  run(16, 10, 30);
  ASSERT_FALSE(choice.is_direct());
  choice.goes_on(scale.long_turn - 1);
  EXPECT_FALSE(choice.is_direct());
  choice.goes_on(scale.long_turn);
  EXPECT_TRUE(choice.is_direct());
}

TEST_F(ExecutorChoiceTest, TrialsTakeABoundedShareAndDoNotEnd) {
  for (const bool directly : {true, false}) {
    choice = ExecutorChoice(scale);
    run(1000, directly ? 20 : 100, directly ? 100 : 20);
    count_anew();
    run(50'000, directly ? 20 : 100, directly ? 100 : 20);
    const u64 lost = directly ? translated_ticks : direct_ticks;
    const u64 all = direct_ticks + translated_ticks;
    EXPECT_LT(lost * 15, all) << "more than a fifteenth";
    EXPECT_GT(lost * 200, all) << "it may have become the faster one";
  }
}

TEST_F(ExecutorChoiceTest, ShortTurnsStayTranslatedAndNothingElseIsTried) {
  run(32, 10, 4);
  ASSERT_FALSE(choice.is_direct());
  count_anew();
  run(50'000, 10, 4);
  EXPECT_EQ(direct_turns, 0u);
}

TEST_F(ExecutorChoiceTest, OneBadSampleIsTheHosts) {
  run(5000, 100, 30);
  ASSERT_FALSE(choice.is_direct());
  count_anew();
  while (direct_turns == 0 || choice.is_direct()) run(1, 100, 30);  // a trial has just been
  count_anew();
  run(1, 100, 2500);
  run(32, 100, 30);
  EXPECT_EQ(direct_turns, 0u);
}

TEST_F(ExecutorChoiceTest, CodeThatGetsFasterIsGivenTime) {
  run(16, 20, 0);
  ASSERT_FALSE(choice.is_direct());
  for (const u64 ticks : {60, 50, 42, 35, 29, 24, 15}) {  // it is interpreted at first
    EXPECT_FALSE(choice.is_direct());
    run(16, 20, ticks);
  }
  count_anew();
  run(2000, 20, 10);
  EXPECT_GT(translated_turns, 1500u);
}

TEST_F(ExecutorChoiceTest, WhoLosesOftenIsTriedLessOften) {
  run(1000, 10, 30);
  count_anew();
  run(10'000, 10, 30);
  const u64 early = translated_turns;
  run(50'000, 10, 30);
  count_anew();
  run(10'000, 10, 30);
  EXPECT_LT(translated_turns, early);
  EXPECT_GT(translated_turns, 0u);
}

TEST_F(ExecutorChoiceTest, TurnsOfTheOtherExecutorAreNoSample) {
  for (int n = 0; n < 100; ++n) choice.ended(10, false, now += 10);
  EXPECT_TRUE(choice.is_direct());
}

TEST_F(ExecutorChoiceTest, FollowsAProgramThatBecomesAnother) {
  run(5000, 10, 30);
  count_anew();
  run(5000, 100, 30);
  EXPECT_GT(translated_turns, 4000u);
  count_anew();
  run(5000, 10, 30);
  EXPECT_GT(direct_turns, 4000u);
}

TEST_F(ExecutorChoiceTest, AStaleRecordIsCorrectedBySample) {
  run(5000, 10, 30);
  count_anew();
  run(5000, 100, 300);  // all is slower: the old record of the other looks good, once
  EXPECT_LT(translated_turns, 500u);
  count_anew();
  run(5000, 300, 100);
  EXPECT_LT(direct_turns, 500u);
}

}  // namespace
}  // namespace bhyve::soft
