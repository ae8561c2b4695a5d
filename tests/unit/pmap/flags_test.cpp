// Accessed and modified flags: scans, emulation, promotion and demotion, in both kinds of EPT.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "base/bits.hpp"
#include "pmap/pmap.hpp"
#include "pmap/pmap_ept.hpp"

namespace bhyve::pmap {
namespace {

class FlagsTest : public testing::TestWithParam<PmapFlags> {
 protected:
  FrameArena arena;
  Pmap pmap{PmapType::pt_ept, arena, GetParam()};

  struct Found {
    std::atomic<u64>* slot = nullptr;
    unsigned level = 0;
  };
  /// Walks the raw entries as the CPU does, with the rights of hardware (SDM vol. 3, 29.3.2).
  Found walk(u64 va, u64 need) const {
    ArenaAddr table = pmap.root();
    for (unsigned level = top_level;; --level) {
      auto* slot =
          reinterpret_cast<std::atomic<u64>*>(arena.host(table)) + (va >> level_shift(level)) % 512;
      const u64 e = slot->load();
      if ((e & need) != need) return {};
      EXPECT_NE(e & 7, u64{Ept::write}) << "write without read is a misconfiguration";
      EXPECT_NE(e & 7, u64{Ept::write | Ept::exec});
      if (Ept::is_leaf(e, level)) return {slot, level};
      table = Ept::frame(e);
    }
  }
  /// An access of the guest to a page of identity-mapped RAM. False: the fault handler was needed.
  bool touch(u64 va, bool write) {
    const u64 need = write ? u64{Ept::read | Ept::write} : u64{Ept::read};
    bool handled = true;
    for (int tries = 0; tries < 4; ++tries) {
      if (const Found f = walk(va, need); f.slot) {
        if (GetParam().ad_bits)
          f.slot->fetch_or(Ept::hw_accessed | (write ? u64{Ept::hw_dirty} : 0));
        return handled;
      }
      if (pmap.emulate_accessed_dirty(va, write)) continue;
      handled = false;
      EXPECT_TRUE(pmap.enter(va, {.frame = ArenaAddr(va & ~page_mask), .write = true,
                                  .accessed = true, .modified = write}));
    }
    ADD_FAILURE() << "page " << va << " stays out of reach";
    return handled;
  }
  u64 leaf(u64 va) const {
    const Pmap::Lookup l = pmap.lookup(va);
    return l.present ? l.entries[l.count - 1] : 0;
  }
  bool large(u64 va) const { return pmap.lookup(va).count == 3 && pmap.lookup(va).present; }
  void touch_all(u64 start, bool write) {
    for (u64 va = start; va < start + superpage_size; va += page_size) touch(va, write);
  }
};

INSTANTIATE_TEST_SUITE_P(
    Hardware, FlagsTest,
    testing::Values(PmapFlags{}, PmapFlags{.ad_bits = false},
                    PmapFlags{.ad_bits = false, .exec_only = false}),
    [](const auto& p) {
      return p.param.ad_bits     ? std::string("ad")
             : p.param.exec_only ? std::string("emulated")
                                 : std::string("emulated_no_exec_only");
    });

TEST_P(FlagsTest, EmulationHandlesWhatTheNotesTableSays) {
  EXPECT_FALSE(pmap.emulate_accessed_dirty(0x1000, false)) << "nothing is mapped";
  ASSERT_TRUE(pmap.enter(0x1000, {.frame = ArenaAddr(0x1000), .write = true, .exec = false}));
  ASSERT_TRUE(pmap.enter(0x2000, {.frame = ArenaAddr(0x2000), .write = false}));
  ASSERT_TRUE(pmap.enter_large(2 * MiB, {.frame = ArenaAddr(2 * MiB), .write = true,
                                         .exec = false}));
  const u64 generation = pmap.generation();
  if (GetParam().ad_bits) {
    EXPECT_FALSE(pmap.emulate_accessed_dirty(0x1000, false)) << "the hardware does it";
    return;
  }
  EXPECT_EQ(leaf(0x1000) & 7, 0u) << "valid by software, no right by hardware";
  EXPECT_TRUE(pmap.emulate_accessed_dirty(0x1abc, false));
  EXPECT_EQ(leaf(0x1000) & 7, u64{Ept::read});
  EXPECT_TRUE(pmap.emulate_accessed_dirty(0x1abc, true));
  EXPECT_EQ(leaf(0x1000) & 7, u64{Ept::read | Ept::write});
  EXPECT_FALSE(pmap.emulate_accessed_dirty(0x2000, true)) << "read-only";
  EXPECT_FALSE(pmap.emulate_accessed_dirty(2 * MiB, true)) << "large";
  EXPECT_TRUE(pmap.emulate_accessed_dirty(2 * MiB, false));
  EXPECT_TRUE(leaf(2 * MiB) & Ept::read);
  EXPECT_EQ(pmap.generation(), generation) << "rights only grew";
  EXPECT_EQ(pmap.stats().accessed_emulations, 1u);
  EXPECT_EQ(pmap.stats().dirty_emulations, 1u);
  EXPECT_EQ(pmap.stats().superpage_accessed_emulations, 1u);
}

TEST_P(FlagsTest, AWriteEmulatesAccessedAndModifiedAtOnce) {
  if (GetParam().ad_bits) return;
  ASSERT_TRUE(pmap.enter(0x1000, {.frame = ArenaAddr(0x1000), .write = true, .exec = false}));
  EXPECT_TRUE(pmap.emulate_accessed_dirty(0x1000, true));
  EXPECT_EQ(leaf(0x1000) & 7, u64{Ept::read | Ept::write});
}

TEST_P(FlagsTest, PagesThatAgreeBecomeOneAndAPartialChangeSplitsThem) {
  touch_all(0, true);
  EXPECT_FALSE(large(0) && GetParam().ad_bits) << "nobody asked for it yet";
  if (!large(0)) {
    const u64 generation = pmap.generation(), stale = pmap.stale_generations();
    ASSERT_TRUE(pmap.promote(0x5000));
    EXPECT_GT(pmap.generation(), generation) << "a change of size invalidates";
    EXPECT_EQ(pmap.stale_generations(), stale) << "but what is cached by small pages stays right";
  }
  EXPECT_TRUE(large(0));
  EXPECT_EQ(pmap.stats().promotions, 1u);
  EXPECT_TRUE(leaf(0) & Ept::promoted);
  EXPECT_TRUE(leaf(0) & pmap.rw_bit());
  EXPECT_TRUE(leaf(0) & pmap.modified_bit());
  const u64 pages = pmap.table_pages();
  pmap.write_protect(0x7000, page_size);
  EXPECT_EQ(pmap.stats().demotions, 1u);
  EXPECT_EQ(pmap.table_pages(), pages) << "the table was kept";
  EXPECT_FALSE(leaf(0x7000) & pmap.rw_bit());
  EXPECT_TRUE(leaf(0x8000) & pmap.modified_bit());
  EXPECT_FALSE(leaf(0x8000) & Ept::promoted);
  EXPECT_FALSE(pmap.promote(0)) << "one page differs";
  EXPECT_GE(pmap.stats().promotion_failures, 1u);
}

TEST_P(FlagsTest, CleanPagesArePromotedReadOnlySoThatAWriteIsSeenPageByPage) {
  touch_all(0, false);
  if (!large(0)) {
    ASSERT_TRUE(pmap.promote(0));
  }
  EXPECT_TRUE(large(0));
  EXPECT_FALSE(leaf(0) & pmap.rw_bit());
  EXPECT_FALSE(touch(0x9000, true)) << "the fault handler resolves it";
  EXPECT_FALSE(large(0));
  std::set<u64> dirty;
  pmap.set_dirty_sink([&](u64 va, u64) { dirty.insert(va); });
  pmap.clear_modified(0, superpage_size);
  EXPECT_EQ(dirty, std::set<u64>{0x9000});
}

TEST_P(FlagsTest, NoPromotionWithoutAllPagesOfOneAlignedRunAccessedAndMapped) {
  EXPECT_FALSE(pmap.promote(0)) << "no tables";
  touch_all(0, true);
  pmap.remove(0, superpage_size);
  for (u64 va = 0; va < superpage_size; va += page_size)
    ASSERT_TRUE(pmap.enter(va, {.frame = ArenaAddr(va + 0x1000), .write = true, .accessed = true,
                                .modified = true}));
  EXPECT_FALSE(pmap.promote(0)) << "frames are not aligned";
  pmap.remove(0, superpage_size);
  for (u64 va = 0; va < superpage_size - page_size; va += page_size) touch(va, true);
  EXPECT_FALSE(pmap.promote(0)) << "the last one is missing";
  ASSERT_TRUE(pmap.enter(superpage_size - page_size,
                         {.frame = ArenaAddr(superpage_size - page_size), .write = true,
                          .exec = false, .accessed = true, .modified = true}));
  EXPECT_FALSE(pmap.promote(0)) << "other rights";
}

TEST_P(FlagsTest, EnteringAPageThatALargeLeafMapsAlikeLeavesItWhole) {
  touch_all(0, true);
  if (!large(0)) {
    ASSERT_TRUE(pmap.promote(0));
  }
  const u64 generation = pmap.generation();
  ASSERT_TRUE(pmap.enter(0x3000, {.frame = ArenaAddr(0x3000), .write = true, .accessed = true}));
  EXPECT_TRUE(large(0));
  EXPECT_EQ(pmap.generation(), generation);
  ASSERT_TRUE(pmap.enter(0x3000, {.frame = ArenaAddr(0x4000), .write = true}));
  EXPECT_FALSE(large(0));
}

TEST_P(FlagsTest, ScansInvalidateOnceAndOnlyIfTheyChangedAnything) {
  for (u64 va = 0; va < 64 * page_size; va += page_size) touch(va, va % (2 * page_size) == 0);
  u64 generation = pmap.generation();
  u64 dirty = 0, accessed = 0;
  pmap.set_dirty_sink([&](u64, u64) { ++dirty; });
  pmap.clear_modified(0, GiB);
  EXPECT_EQ(dirty, 32u);
  EXPECT_EQ(pmap.generation(), ++generation);
  pmap.clear_accessed(0, GiB, [&](u64, u64) { ++accessed; });
  EXPECT_EQ(accessed, 64u);
  EXPECT_EQ(pmap.generation(), ++generation);
  pmap.clear_accessed(0, GiB, [&](u64, u64) { ADD_FAILURE(); });
  pmap.clear_modified(0, GiB);
  EXPECT_EQ(dirty, 32u);
  EXPECT_EQ(pmap.generation(), generation);
}

TEST_P(FlagsTest, WithoutSuperpagesNothingIsPromoted) {
  FrameArena other;
  PmapFlags flags = GetParam();
  flags.superpages = false;
  Pmap small(PmapType::pt_ept, other, flags);
  for (u64 va = 0; va < superpage_size; va += page_size)
    ASSERT_TRUE(small.enter(va, {.frame = ArenaAddr(va), .write = true, .accessed = true,
                                 .modified = true}));
  EXPECT_FALSE(small.promote(0));
  EXPECT_EQ(small.lookup(0).count, 4u);
}

/// Random accesses, scans and changes of size: every write is told exactly once, by a scan or by
/// the dirty sink, and every access is seen by the next scan for it.
TEST_P(FlagsTest, RandomScansLoseNoWrite) {
  std::mt19937_64 random(1202);
  std::set<u64> written, told;
  std::map<u64, bool> accessed;
  const auto tell = [&](u64 va, u64 bytes) {
    for (u64 at = va; at < va + bytes; at += page_size) told.insert(at);
  };
  pmap.set_dirty_sink(tell);
  constexpr u64 pages = 3 * 512;
  for (int round = 0; round < 6000; ++round) {
    const u64 page = random() % pages, count = 1 + random() % (random() % 3 ? 16 : 1024);
    const u64 va = page * page_size;
    switch (random() % 10) {
      case 0:
        pmap.clear_modified(va, count * page_size);
        break;
      case 1:
        pmap.clear_accessed(va, count * page_size, [&](u64 at, u64 bytes) {
          for (u64 p = at; p < at + bytes; p += page_size) accessed[p] = false;
        });
        for (u64 p = page; p < std::min(page + count, pages); ++p) {
          ASSERT_FALSE(accessed[p * page_size]) << round << ": an access was not seen";
        }
        break;
      case 2:
        pmap.remove(va, count % 32 * page_size);
        for (u64 p = page; p < page + count % 32; ++p) accessed[p * page_size] = false;
        break;
      case 3:
        pmap.write_protect(va, count * page_size);
        break;
      case 4:
        for (u64 at = align_down(va, superpage_size), n = 0; n < 512; ++n, at += page_size) {
          touch(at, round % 2);
          if (round % 2) written.insert(at);
          accessed[at] = true;
        }
        break;
      case 5:
        pmap.promote(va);
        break;
      default: {
        const bool write = random() % 2;
        touch(va, write);
        if (write) written.insert(va);
        accessed[va] = true;
      }
    }
    if (round % 50) continue;
    pmap.clear_modified(0, pages * page_size);
    told.clear();
    written.clear();
    for (int n = 0; n < 20; ++n) {
      const u64 at = random() % pages * page_size;
      touch(at, true);
      written.insert(at);
      accessed[at] = true;
      if (n % 5 == 0) pmap.remove(random() % pages * page_size, page_size);
      if (n % 7 == 0) pmap.write_protect(random() % pages * page_size, 4 * page_size);
      pmap.promote(at);
    }
    accessed.clear();
    pmap.clear_accessed(0, pages * page_size, [](u64, u64) {});
    pmap.clear_modified(0, pages * page_size);
    for (const u64 at : written) ASSERT_TRUE(told.contains(at)) << round << ": write lost";
    for (const u64 at : told) ASSERT_TRUE(written.contains(at)) << round << ": write invented";
  }
}

}  // namespace
}  // namespace bhyve::pmap
