#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "pmap/pmap.hpp"
#include "pmap/pmap_ept.hpp"

namespace bhyve::pmap {
namespace {

/// A hardware walker as the engine has it: raw entries, flags set by compare-exchange of the leaf.
/// Returns the leaf it used and its level; 0 when not present.
struct Walked {
  u64 leaf;
  unsigned level;
};
Walked hardware_walk(const FrameArena& arena, ArenaAddr root, u64 va, bool write) {
  ArenaAddr table = root;
  for (unsigned level = top_level;; --level) {
    auto* slot =
        reinterpret_cast<std::atomic<u64>*>(arena.host(table)) + (va >> level_shift(level)) % 512;
    u64 e = slot->load(std::memory_order_acquire);
    if (!(e & 7)) return {0, level};
    if (!Ept::is_leaf(e, level)) {
      table = Ept::frame(e);
      continue;
    }
    if (write && !(e & Ept::write)) return {0, level};
    const u64 marked = e | Ept::hw_accessed | (write ? u64{Ept::hw_dirty} : 0);
    if (slot->compare_exchange_strong(e, marked)) return {marked, level};
    level = top_level + 1;  // changed meanwhile: walk again
    table = root;
  }
}

constexpr u64 region = 2 * MiB;
constexpr u64 frame_of_region = 64 * MiB;

TEST(ConcurrentWalkers, SeeOnlyWholeEntriesOfTheirOwnAddressWhileItChangesSize) {
  FrameArena arena;
  Pmap pmap(PmapType::pt_ept, arena);
  std::atomic<bool> stop{false};
  std::atomic<u64> wrong{0}, hits{0};
  const auto walker = [&](u64 seed) {
    u64 x = seed;
    while (!stop.load(std::memory_order_relaxed)) {
      x = x * 6364136223846793005 + 1442695040888963407;
      const u64 va = (x >> 33) % (2 * region);
      const Walked w = hardware_walk(arena, pmap.root(), va, x >> 63);
      if (!w.leaf) continue;
      hits.fetch_add(1, std::memory_order_relaxed);
      // Every mapping made below is of the same frames: any other result is a torn or foreign
      // entry.
      const u64 got = Ept::frame(w.leaf, w.level).value() + va % level_size(w.level);
      if (got != frame_of_region + va) wrong.fetch_add(1, std::memory_order_relaxed);
    }
  };
  std::vector<std::thread> walkers;
  for (u64 i = 1; i <= 2; ++i) walkers.emplace_back(walker, i);
  const auto at = [](u64 va) { return ArenaAddr(frame_of_region + va); };
  for (u64 round = 0; round < 3000; ++round) {
    const u64 page = round * 7 % 1024 << page_shift;
    switch (round % 6) {
      case 0:
        ASSERT_TRUE(pmap.enter_large(round % 2 * region, {at(round % 2 * region), true}));
        break;
      case 1:
        pmap.write_protect(page, 3 * page_size);
        break;
      case 2:
        pmap.remove(page, 5 * page_size);
        break;
      case 3:
        ASSERT_TRUE(pmap.enter(page, {at(page), true}));
        break;
      case 4:
        ASSERT_TRUE(pmap.fill_dirty(page, {at(page), true}, 1));
        break;
      case 5:
        ASSERT_TRUE(pmap.enter_large(region, {at(region), true}));
        break;
    }
  }
  while (hits.load() == 0) {
    ASSERT_TRUE(pmap.enter_large(0, {at(0), true}));
    std::this_thread::yield();
  }
  stop = true;
  for (std::thread& t : walkers) t.join();
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_LE(pmap.table_pages(), 5u);
}

TEST(ConcurrentWalkers, DirtyFlagsSetDuringSplitsAreNotLost) {
  FrameArena arena;
  Pmap pmap(PmapType::pt_ept, arena);
  for (int round = 0; round < 300; ++round) {
    ASSERT_TRUE(pmap.enter_large(0, {ArenaAddr(0), true}));
    std::atomic<int> ready{0};
    std::thread writer([&] {
      ready = 1;
      ASSERT_NE(hardware_walk(arena, pmap.root(), 0x9000, true).leaf, 0u);
    });
    while (!ready) {
    }
    pmap.write_protect(0x5000, page_size);  // splits
    writer.join();
    const Pmap::Lookup l = pmap.lookup(0x9000);
    ASSERT_TRUE(l.entries[l.count - 1] & Ept::hw_dirty) << round;
    pmap.remove(0, 2 * MiB);
  }
}

TEST(ConcurrentChanges, OfSeveralThreadsKeepEveryPage) {
  FrameArena arena;
  Pmap pmap(PmapType::pt_ept, arena);
  std::vector<std::thread> threads;
  for (u64 t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (u64 i = t; i < 4096; i += 4)
        ASSERT_TRUE(pmap.enter(i << page_shift, {ArenaAddr(i << page_shift), true}));
    });
  for (std::thread& t : threads) t.join();
  for (u64 i = 0; i < 4096; ++i) ASSERT_EQ(pmap.lookup(i << page_shift).frame, i << page_shift);
  EXPECT_EQ(pmap.table_pages(), 3 + 8u);
}

}  // namespace
}  // namespace bhyve::pmap
