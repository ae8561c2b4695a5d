#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "mem/vmspace.hpp"

namespace bhyve::mem {
namespace {

TEST(ConcurrentVmspace, FaultsAndHoldsRunWhileTheMapChanges) {
  auto made = Vmspace::create({16 * MiB, 0});
  ASSERT_TRUE(made);
  Vmspace& space = **made;
  std::atomic<bool> stop{false};
  std::atomic<u64> unexpected{0}, notified{0};
  space.pmap().set_notifier([&] { notified.fetch_add(1, std::memory_order_relaxed); });
  constexpr Gpa window{0x10'0000};
  const auto guest = [&](u64 seed) {
    for (u64 i = seed; !stop.load(std::memory_order_relaxed); i += 13) {
      const Gpa gpa((i << page_shift) % (2 * MiB));
      if (space.fault(gpa, Prot::read) != FaultResult::resolved) ++unexpected;
      const Hold h = space.hold(gpa, 3 * page_size, Prot::read);
      if (!h || h.ranges().empty()) ++unexpected;
      const Hold w = space.hold(Gpa(8 * MiB + gpa.value()), 64, Prot::rw);
      if (!w) ++unexpected;
    }
  };
  std::vector<std::thread> threads;
  for (u64 i = 0; i < 2; ++i) threads.emplace_back(guest, i);
  int changes = 0;
  for (int round = 0; round < 500; ++round) {
    ASSERT_TRUE(space.add_segment(window, 64 * KiB, Prot::rx, "window"));
    while (!space.remove_segment(window)) std::this_thread::yield();  // held at the moment
    changes += 2;
  }
  stop = true;
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(unexpected.load(), 0u);
  EXPECT_GE(notified.load(), static_cast<u64>(changes));
  EXPECT_EQ(space.holds_outstanding(), 0u);
  EXPECT_EQ(space.pmap().lookup(window.value()).present &&
                space.pmap().lookup(window.value()).frame != window.value(),
            false)
      << "no mapping of a removed segment is left";
}

TEST(ConcurrentCodePages, EveryWriteEndsTheWatchThatPrecededIt) {
  CodePages pages(1);
  std::atomic<u64> data{0};
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (u64 v = 1; !stop.load(std::memory_order_relaxed); ++v) {
      data.store(v);
      pages.written(0);
    }
  });
  // Code decoded under a watch is used only while the word is unchanged; once the writer is done,
  // an unchanged word means that the code is of the last value.
  u64 decoded = 0;
  CodePages::Word word = 0;
  for (int i = 0; i < 20000; ++i) {
    if (pages.word(0).load() != word || i == 0) {
      word = pages.watch(0).word;
      decoded = data.load();
    }
  }
  stop = true;
  writer.join();
  if (pages.word(0).load() == word) {
    EXPECT_EQ(decoded, data.load());
  }
  word = pages.watch(0).word;
  data.store(0);
  pages.written(0);
  EXPECT_NE(pages.word(0).load(), word);
}

}  // namespace
}  // namespace bhyve::mem
