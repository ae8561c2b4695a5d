#include "mem/fault_streams.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace bhyve::mem {
namespace {

constexpr u64 window = 64 * KiB, lead = FaultStreams::lead, somewhere = 512 * MiB;
using Range = FaultStreams::Range;

class FaultStreamsTest : public testing::Test {
 protected:
  /// `count` faults from `at` on, `step` apart; what was asked for.
  std::vector<Range> go(u64 at, unsigned count, i64 step) {
    std::vector<Range> all;
    for (unsigned n = 0; n < count; ++n) {
      if (const Range r = streams.faulted(at + static_cast<u64>(step * i64{n})); !r.empty()) all.push_back(r);
    }
    return all;
  }
  FaultStreams streams{window};
};

TEST_F(FaultStreamsTest, AsksForWhatFollowsOnceItIsSure) {
  EXPECT_TRUE(go(somewhere, FaultStreams::run_needed, window).empty());
  const u64 at = somewhere + FaultStreams::run_needed * window;
  EXPECT_EQ(streams.faulted(at), (Range{at + window, at + window + lead}));
}

TEST_F(FaultStreamsTest, AsksForEachPieceOnce) {
  const auto all = go(somewhere, 100, window);
  ASSERT_GT(all.size(), 10u);
  for (usize n = 1; n < all.size(); ++n) EXPECT_EQ(all[n].first, all[n - 1].end);
  const u64 last = somewhere + 99 * window;
  EXPECT_GT(all.back().end, last + lead / 2);
  EXPECT_LE(all.back().end, last + window + lead + lead / 2);
}

TEST_F(FaultStreamsTest, GoesDownToo) {
  const auto all = go(somewhere, 100, -i64{window});
  ASSERT_GT(all.size(), 10u);
  EXPECT_EQ(all.front().end, somewhere - FaultStreams::run_needed * window);
  for (usize n = 1; n < all.size(); ++n) EXPECT_EQ(all[n].end, all[n - 1].first);
  EXPECT_LT(all.back().first, somewhere - 99 * window - lead / 2);
}

TEST_F(FaultStreamsTest, EndsAtTheFirstByte) {
  const auto all = go(20 * window, 21, -i64{window});
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(all.back().first, 0u);
}

TEST_F(FaultStreamsTest, FollowsSeveralAtATime) {
  unsigned asked = 0;
  for (u64 n = 0; n < 10; ++n)
    for (u64 stream = 0; stream < 4; ++stream)
      asked += !streams.faulted(somewhere * (stream + 1) + n * window).empty();
  EXPECT_GE(asked, 4u);
}

TEST_F(FaultStreamsTest, LeavesScatteredFaultsAlone) {
  EXPECT_TRUE(go(somewhere, 1000, 2 * window).empty());
  EXPECT_TRUE(go(somewhere, 1000, 0).empty());
  for (unsigned n = 0; n < 100; ++n)  // back and forth
    EXPECT_TRUE(streams.faulted(somewhere + (n % 2) * window).empty());
}

}  // namespace
}  // namespace bhyve::mem
