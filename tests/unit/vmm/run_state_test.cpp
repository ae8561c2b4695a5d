#include "vmm/run_state.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "vmm/parker.hpp"

namespace bhyve::vmm {
namespace {

TEST(RunState, OnlyFrozenIsBetweenTheOthers) {
  using enum RunState;
  const RunState all[] = {idle, frozen, running, sleeping};
  for (const RunState from : all) {
    for (const RunState to : all)
      EXPECT_EQ(is_legal(from, to),
                (from == frozen && to != frozen) || (to == frozen && from != frozen));
  }
}

TEST(RunState, AChangeFromAnotherStateIsRefused) {
  RunStateWord word;
  EXPECT_FALSE(word.try_change(RunState::frozen, RunState::running));
  EXPECT_EQ(word.get(), RunState::idle);
  EXPECT_TRUE(word.try_change(RunState::idle, RunState::frozen));
  EXPECT_EQ(word.observe(), RunState::frozen);
}

TEST(Parker, AWakeThatComesFirstIsRemembered) {
  Parker parker;
  parker.wake();
  parker.park(never);  // hangs if the wake was lost
}

TEST(Parker, EndsAtItsDeadline) {
  Parker parker;
  const Nanos deadline = monotonic_now() + 2'000'000;
  while (monotonic_now() < deadline) parker.park(deadline);
  EXPECT_GE(monotonic_now(), deadline);
}

TEST(Parker, AnotherThreadWakesIt) {
  Parker parker;
  std::thread other([&] { parker.wake(); });
  parker.park(never);
  other.join();
}

}  // namespace
}  // namespace bhyve::vmm
