#include "engine/soft/system/pause_loop.hpp"

#include <gtest/gtest.h>

namespace bhyve::soft {
namespace {

constexpr u64 start = 1'000'000'000;

/// How often a loop of `count` PAUSEs, `apart` ticks from each other, is told to spin.
unsigned spins(PauseLoop& loop, u64 from, u64 count, u64 apart) {
  unsigned times = 0;
  for (u64 n = 0; n < count; ++n) times += loop.has_spun(from + n * apart);
  return times;
}

TEST(PauseLoopTest, LeavesShortLoopsAlone) {
  PauseLoop loop;
  for (u64 n = 0; n < 100; ++n)
    EXPECT_EQ(spins(loop, start + n * 10 * PauseLoop::window, PauseLoop::window / 200, 200), 0u);
}

TEST(PauseLoopTest, TellsALongLoopOnceAWindow) {
  PauseLoop loop;
  EXPECT_EQ(spins(loop, start, 10 * PauseLoop::window / 256, 256), 9u);
}

TEST(PauseLoopTest, TakesRarePausesForNoLoop) {
  PauseLoop loop;
  EXPECT_EQ(spins(loop, start, 1000, PauseLoop::gap + 1), 0u);
  EXPECT_GT(spins(loop, 2 * start, 1000, PauseLoop::gap), 50u);
}

}  // namespace
}  // namespace bhyve::soft
