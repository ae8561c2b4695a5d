#include "base/callout.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <vector>

namespace bhyve {
namespace {

constexpr Nanos ms = 1'000'000;

/// A counter that a test thread can wait on.
class Signal final {
 public:
  void raise() {
    const std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  bool wait_for(unsigned count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return count_ >= count; });
  }
  unsigned count() {
    const std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  unsigned count_ = 0;
};

TEST(Callout, FiresOnceAndNotBeforeItsDeadline) {
  CalloutWheel wheel;
  Signal fired;
  Nanos at = 0;
  Callout callout(wheel, [&] {
    at = monotonic_now();
    fired.raise();
  });
  const Nanos deadline = monotonic_now() + 5 * ms;
  callout.arm(deadline);
  EXPECT_TRUE(callout.armed());
  ASSERT_TRUE(fired.wait_for(1));
  callout.drain();
  EXPECT_GE(at, deadline);
  EXPECT_FALSE(callout.armed());
  EXPECT_EQ(fired.count(), 1u);
}

TEST(Callout, ArmingAgainReplacesTheDeadline) {
  CalloutWheel wheel;
  Signal fired;
  Callout callout(wheel, [&] { fired.raise(); });
  callout.arm(monotonic_now() + 3600 * nanos_per_second);
  callout.arm(monotonic_now() + ms);  // earlier: the sleeping thread must notice
  ASSERT_TRUE(fired.wait_for(1));
  callout.arm(monotonic_now() + 3600 * nanos_per_second);
  callout.arm(never);
  EXPECT_FALSE(callout.armed());
}

// The wheel's thread is held up in a function, as a busy host holds it up anywhere.
TEST(Callout, WhoCannotWaitForTheThreadRunsWhatIsDue) {
  CalloutWheel wheel;
  Signal entered, leave, after;
  std::thread::id ran_on;
  Callout slow(wheel, [&] {
    entered.raise();
    leave.wait_for(1);
  });
  const Nanos later = monotonic_now() + 3600 * nanos_per_second;
  Callout tick(wheel, [&] { ran_on = std::this_thread::get_id(); });
  Callout far(wheel, [&] { after.raise(); });
  slow.arm(0);
  ASSERT_TRUE(entered.wait_for(1));
  tick.arm(later);
  far.arm(2 * later);
  wheel.run_overdue(later - 1);
  EXPECT_TRUE(tick.armed());
  wheel.run_overdue(later);
  EXPECT_FALSE(tick.armed());
  EXPECT_EQ(ran_on, std::this_thread::get_id());
  EXPECT_TRUE(far.armed());
  leave.raise();
  slow.drain();
  far.arm(0);  // and the thread goes on as ever
  EXPECT_TRUE(after.wait_for(1));
}

TEST(Callout, DisarmedDoesNotFire) {
  CalloutWheel wheel;
  Signal fired, later;
  Callout callout(wheel, [&] { fired.raise(); });
  Callout witness(wheel, [&] { later.raise(); });
  const Nanos now = monotonic_now();
  callout.arm(now + 20 * ms);
  witness.arm(now + 40 * ms);
  callout.disarm();
  ASSERT_TRUE(later.wait_for(1));
  EXPECT_EQ(fired.count(), 0u);
}

TEST(Callout, RunsInOrderOfDeadlinesAndTiesInOrderOfArming) {
  CalloutWheel wheel;
  std::vector<int> order;
  Signal fired;
  const auto note = [&](int n) {
    return [&order, &fired, n] {
      order.push_back(n);
      fired.raise();
    };
  };
  Callout a(wheel, note(1)), b(wheel, note(2)), c(wheel, note(3)), d(wheel, note(4));
  const Nanos t = monotonic_now() + 20 * ms;
  d.arm(t + 2);
  b.arm(t + 1);
  c.arm(t + 1);
  a.arm(t);
  ASSERT_TRUE(fired.wait_for(4));
  EXPECT_EQ(order, (std::vector{1, 2, 3, 4}));
}

TEST(Callout, FunctionMayArmItself) {
  CalloutWheel wheel;
  Signal fired;
  std::optional<Callout> callout;
  callout.emplace(wheel, [&] {
    fired.raise();
    callout->arm(monotonic_now());
  });
  callout->arm(monotonic_now());
  ASSERT_TRUE(fired.wait_for(100));
  callout->drain();  // ends although the function always arms itself
  EXPECT_FALSE(callout->armed());
  const unsigned count = fired.count();
  Callout witness(wheel, [&] { fired.raise(); });
  witness.arm(monotonic_now() + ms);
  ASSERT_TRUE(fired.wait_for(count + 1));
  EXPECT_EQ(fired.count(), count + 1);
}

TEST(Callout, DrainWaitsForTheFunction) {
  CalloutWheel wheel;
  Signal entered, release;
  std::atomic<bool> finished{false};
  Callout callout(wheel, [&] {
    entered.raise();
    release.wait_for(1);
    finished = true;
  });
  callout.arm(0);
  ASSERT_TRUE(entered.wait_for(1));
  std::thread helper([&] { release.raise(); });
  callout.drain();
  EXPECT_TRUE(finished);
  helper.join();
}

TEST(Callout, ClaimedOwnersCalloutsRunOnTheClaimersThread) {
  CalloutWheel wheel;
  Signal woken;
  std::optional<std::thread::id> ran_on;
  Callout bound(wheel, [&] { ran_on = std::this_thread::get_id(); }, 3);
  const Nanos deadline = monotonic_now() + 50 * ms;
  bound.arm(deadline);
  EXPECT_EQ(wheel.claim(3, [&] { woken.raise(); }), deadline);
  EXPECT_EQ(wheel.run_due(3, deadline - 1), deadline);
  EXPECT_FALSE(ran_on.has_value());
  EXPECT_EQ(wheel.run_due(3, deadline), never);
  EXPECT_EQ(ran_on, std::this_thread::get_id());
  EXPECT_EQ(woken.count(), 0u);
  wheel.unclaim(3);
}

TEST(Callout, ClaimerIsWokenOnlyWhenTheDeadlineMovesEarlier) {
  CalloutWheel wheel;
  Signal woken;
  Callout bound(wheel, [] {}, 0), other(wheel, [] {}, 1), unbound(wheel, [] {});
  const Nanos base = monotonic_now() + 3600 * nanos_per_second;
  EXPECT_EQ(wheel.claim(0, [&] { woken.raise(); }), never);
  bound.arm(base);
  EXPECT_EQ(woken.count(), 1u);
  bound.arm(base + 1);
  other.arm(base - 1);
  unbound.arm(base - 1);
  EXPECT_EQ(woken.count(), 1u);
  bound.arm(base - 1);
  EXPECT_EQ(woken.count(), 2u);
  EXPECT_EQ(wheel.run_due(0, monotonic_now()), base - 1);
  wheel.unclaim(0);
}

TEST(Callout, UnclaimGivesDeadlinesBackToTheWheel) {
  CalloutWheel wheel;
  Signal fired;
  Callout bound(wheel, [&] { fired.raise(); }, 0);
  wheel.claim(0, [] {});
  bound.arm(monotonic_now() + ms);
  wheel.unclaim(0);
  EXPECT_TRUE(fired.wait_for(1));
}

TEST(Callout, FunctionThatArmsItselfInRunDueIsReportedAndDoesNotWake) {
  CalloutWheel wheel;
  Signal woken;
  std::optional<Callout> bound;
  bound.emplace(wheel, [&] { bound->arm(1000); }, 0);
  wheel.claim(0, [&] { woken.raise(); });
  bound->arm(10);
  EXPECT_EQ(woken.count(), 1u);
  EXPECT_EQ(wheel.run_due(0, 500), 1000u);
  EXPECT_EQ(woken.count(), 1u);
  bound->disarm();
  wheel.unclaim(0);
}

/// Claimers, arming threads and the wheel race for the same callouts. The functions touch plain
/// data: TSan reports it if one ever runs twice at a time or beyond drain().
TEST(CalloutStress, FunctionsNeverOverlapAndDrainIsFinal) {
  constexpr unsigned owners = 2, per_owner = 3, rounds = 400;
  CalloutWheel wheel;
  struct Item {
    u64 plain = 0;
    std::atomic<int> inside{0};
    std::optional<Callout> callout;
  };
  std::vector<Item> items(owners * per_owner);
  std::atomic<bool> overlap{false};
  std::atomic<unsigned> wakes{0};
  for (unsigned i = 0; i < items.size(); ++i) {
    Item& item = items[i];
    item.callout.emplace(wheel, [&item, &overlap, i] {
      if (item.inside.fetch_add(1) != 0) overlap = true;
      ++item.plain;
      if (item.plain % 2 == 0) item.callout->arm(monotonic_now() + i * 1000);
      item.inside.fetch_sub(1);
    }, i % owners);
  }
  std::vector<std::thread> threads;
  for (unsigned owner = 0; owner < owners; ++owner)
    threads.emplace_back([&, owner] {
      for (unsigned n = 0; n < rounds; ++n) {
        wheel.claim(owner, [&wakes] { wakes.fetch_add(1); });
        wheel.run_due(owner, monotonic_now());
        wheel.unclaim(owner);
        std::this_thread::yield();
      }
    });
  for (unsigned t = 0; t < 2; ++t)
    threads.emplace_back([&, t] {
      std::minstd_rand random(t + 1);
      for (unsigned n = 0; n < rounds; ++n) {
        Callout& callout = *items[random() % items.size()].callout;
        if (n % 7 == 0) callout.drain();
        else callout.arm(monotonic_now() + random() % 200'000);
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (Item& item : items) {
    item.callout->drain();
    ++item.plain;
  }
  EXPECT_FALSE(overlap);
  for (Item& item : items) EXPECT_EQ(item.inside.load(), 0);
}

}  // namespace
}  // namespace bhyve
