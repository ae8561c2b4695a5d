#include "pmap/page_table.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

#include "base/bits.hpp"
#include "pmap/pmap.hpp"
#include "pmap/pmap_ept.hpp"
#include "pmap/pmap_x86.hpp"

namespace bhyve::pmap {
namespace {

struct Case {
  PmapType type;
  bool ad;
};

class PmapTest : public testing::TestWithParam<Case> {
 protected:
  FrameArena arena;
  Pmap pmap{GetParam().type, arena, {.ad_bits = GetParam().ad}};

  u64 leaf(u64 va) const {
    const Pmap::Lookup l = pmap.lookup(va);
    return l.present ? l.entries[l.count - 1] : 0;
  }
  bool writable(u64 va) const { return leaf(va) & pmap.rw_bit(); }
  /// What a hardware walker does, by the bits it is told.
  void set_flags(u64 va, u64 flags) {
    const Pmap::Lookup l = pmap.lookup(va);
    ArenaAddr table = pmap.root();
    for (unsigned level = top_level;; --level) {
      auto* slot =
          reinterpret_cast<std::atomic<u64>*>(arena.host(table)) + (va >> level_shift(level)) % 512;
      if (level + l.count == top_level + 1) {
        slot->fetch_or(flags);
        return;
      }
      table = ArenaAddr(l.entries[top_level - level] & Ept::Frame::mask);
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Formats, PmapTest,
                         testing::Values(Case{PmapType::pt_ept, true},
                                         Case{PmapType::pt_ept, false},
                                         Case{PmapType::pt_x86, true}),
                         [](const auto& p) {
                           return p.param.type == PmapType::pt_x86 ? std::string("x86")
                                  : p.param.ad                     ? std::string("ept")
                                                                   : std::string("ept_emulated_ad");
                         });

TEST_P(PmapTest, EmptyTablesMapNothing) {
  const Pmap::Lookup l = pmap.lookup(0x1234'5000);
  EXPECT_FALSE(l.present);
  EXPECT_EQ(l.count, 1u);
  EXPECT_EQ(pmap.table_pages(), 1u);
}

TEST_P(PmapTest, LookupReturnsTheByteAndFourEntries) {
  ASSERT_TRUE(pmap.enter(0x7f12'3456'7000, {FrameArena::address(9, 0x4000), true}));
  const Pmap::Lookup l = pmap.lookup(0x7f12'3456'7abc);
  EXPECT_TRUE(l.present);
  EXPECT_EQ(l.count, 4u);
  EXPECT_EQ(l.frame, FrameArena::address(9, 0x4abc).value());
  EXPECT_EQ(pmap.table_pages(), 4u);
}

TEST_P(PmapTest, AddressesBeyond48BitsAreRefusedNotWrapped) {
  EXPECT_FALSE(pmap.enter(u64{1} << 48, {ArenaAddr(0x1000)}));
  EXPECT_FALSE(pmap.enter(~u64{0}, {ArenaAddr(0x1000)}));
  EXPECT_FALSE(pmap.fill((u64{1} << 48) - page_size, {ArenaAddr(0x1000)}, 2));
  EXPECT_FALSE(pmap.fill(0, {ArenaAddr(0x1000)}, ~u64{0}));
  EXPECT_FALSE(pmap.lookup(u64{1} << 48).present);
  EXPECT_FALSE(pmap.enter_large(0x1000, {ArenaAddr(0)}));
  EXPECT_FALSE(pmap.enter_large(0, {ArenaAddr(0x1000)}));
}

TEST_P(PmapTest, RemoveOfEverythingWithOverflowingLengthTakesAll) {
  ASSERT_TRUE(pmap.enter(0, {ArenaAddr(0x1000)}));
  ASSERT_TRUE(pmap.enter((u64{1} << 48) - page_size, {ArenaAddr(0x2000)}));
  pmap.remove(0, ~u64{0});
  EXPECT_FALSE(pmap.lookup(0).present);
  EXPECT_FALSE(pmap.lookup((u64{1} << 48) - 1).present);
}

TEST_P(PmapTest, OnlyChangesThatMakeTranslationsStaleMoveTheGeneration) {
  const u64 g0 = pmap.generation(), s0 = pmap.stale_generations();
  ASSERT_TRUE(pmap.enter(0x5000, {ArenaAddr(0x1000), false}));
  ASSERT_TRUE(pmap.enter(0x5000, {ArenaAddr(0x1000), true}));
  EXPECT_EQ(pmap.generation(), g0) << "new or larger rights need no invalidation";
  ASSERT_TRUE(pmap.enter(0x5000, {ArenaAddr(0x1000), false}));
  EXPECT_EQ(pmap.generation(), g0 + 1) << "rights shrank";
  EXPECT_EQ(pmap.stale_generations(), s0 + 1);
  ASSERT_TRUE(pmap.enter(0x5000, {ArenaAddr(0x2000), false}));
  EXPECT_EQ(pmap.generation(), g0 + 2) << "another frame";
  pmap.remove(0x5000, 1);
  EXPECT_EQ(pmap.generation(), g0 + 3);
}

TEST_P(PmapTest, EachInvalidationNotifiesAfterTheGenerationMoved) {
  u64 seen = 0;
  pmap.set_notifier([&] { seen = pmap.generation(); });
  pmap.invalidate_ept();
  EXPECT_EQ(seen, pmap.generation());
  pmap.remove(0, page_size);
  EXPECT_EQ(seen, pmap.generation());
}

TEST_P(PmapTest, AccessedSurvivesAChangeOfRightsAndModifiedIsToldBeforeItGoes) {
  std::vector<u64> told;
  pmap.set_dirty_sink([&](u64 va, u64 bytes) {
    EXPECT_EQ(bytes, page_size);
    told.push_back(va);
  });
  const u64 a = pmap.accessed_bit(), m = pmap.modified_bit();
  ASSERT_TRUE(pmap.enter(0x5000, {ArenaAddr(0x1000), true}));
  EXPECT_EQ(leaf(0x5000) & (a | m), 0u);
  set_flags(0x5000, a | m);
  ASSERT_TRUE(pmap.enter(0x5000, {ArenaAddr(0x1000), true}));
  EXPECT_EQ(leaf(0x5000) & (a | m), a | m);
  EXPECT_TRUE(told.empty());
  ASSERT_TRUE(pmap.enter(0x5000, {ArenaAddr(0x1000), false}));
  EXPECT_EQ(leaf(0x5000) & (a | m), a);
  ASSERT_TRUE(pmap.enter(0x5000, {ArenaAddr(0x2000), true, true, false, false, true, true}));
  ASSERT_TRUE(pmap.enter(0x5000, {ArenaAddr(0x1000), true}));
  EXPECT_EQ(leaf(0x5000) & (a | m), 0u) << "another frame";
  set_flags(0x5000, a | m);
  pmap.write_protect(0x4000, 0x3000);
  ASSERT_TRUE(pmap.enter(0x5000, {ArenaAddr(0x1000), true}));
  set_flags(0x5000, a | m);
  pmap.remove(0x5000, 1);
  EXPECT_EQ(told, (std::vector<u64>{0x5000, 0x5000, 0x5000, 0x5000}));
}

TEST_P(PmapTest, PartialChangeOfALargeMappingSplitsItAndKeepsTheRest) {
  const u64 flags = pmap.accessed_bit() | pmap.modified_bit();
  ASSERT_TRUE(pmap.enter_large(GiB, {ArenaAddr(4 * MiB), true}));
  EXPECT_EQ(pmap.lookup(GiB + 0x12345).count, 3u);
  EXPECT_EQ(pmap.lookup(GiB + 0x12345).frame, 4 * MiB + 0x12345);
  set_flags(GiB, flags);
  pmap.write_protect(GiB + 0x3000, page_size);
  EXPECT_FALSE(writable(GiB + 0x3000));
  EXPECT_TRUE(writable(GiB + 0x2fff));
  EXPECT_TRUE(writable(GiB + 0x4000));
  EXPECT_EQ(leaf(GiB + 0x4000) & flags, flags);
  EXPECT_EQ(pmap.lookup(GiB + 2 * MiB - 1).frame, 6 * MiB - 1);
  pmap.remove(GiB + 0x3000, page_size);
  EXPECT_FALSE(pmap.lookup(GiB + 0x3000).present);
  EXPECT_TRUE(pmap.lookup(GiB + 0x4000).present);
}

TEST_P(PmapTest, WholeLargeMappingsAreChangedWithoutSplitting) {
  ASSERT_TRUE(pmap.enter_large(0, {ArenaAddr(4 * MiB), true}));
  const u64 pages = pmap.table_pages();
  pmap.write_protect(0, 2 * MiB);
  EXPECT_FALSE(writable(0));
  pmap.remove(0, 2 * MiB);
  EXPECT_FALSE(pmap.lookup(0).present);
  EXPECT_EQ(pmap.table_pages(), pages);
}

TEST_P(PmapTest, TheTableThatALargeMappingReplacedServesTheNextSplit) {
  ASSERT_TRUE(pmap.enter(0x5000, {ArenaAddr(0x1000), true}));
  const u64 pages = pmap.table_pages();
  const u64 generation = pmap.generation();
  ASSERT_TRUE(pmap.enter_large(0, {ArenaAddr(2 * MiB), true}));
  EXPECT_GT(pmap.generation(), generation) << "a change of size invalidates";
  EXPECT_EQ(pmap.lookup(0x5000).frame, 2 * MiB + 0x5000);
  ASSERT_TRUE(pmap.enter(0x7000, {ArenaAddr(0x3000), true}));
  EXPECT_EQ(pmap.lookup(0x5000).frame, 2 * MiB + 0x5000);
  EXPECT_EQ(pmap.lookup(0x7000).frame, 0x3000u);
  pmap.remove(0, 2 * MiB);
  ASSERT_TRUE(pmap.enter_large(0, {ArenaAddr(2 * MiB), true}));
  pmap.remove(0, 2 * MiB);
  ASSERT_TRUE(pmap.enter(0x1000, {ArenaAddr(0x3000), true}));
  EXPECT_FALSE(pmap.lookup(0x5000).present) << "a kept table must come back empty";
  EXPECT_EQ(pmap.table_pages(), pages);
}

TEST_P(PmapTest, FillLeavesMappedPagesAlone) {
  ASSERT_TRUE(pmap.enter(0x2000, {ArenaAddr(0x9000), false}));
  ASSERT_TRUE(pmap.fill(0, {ArenaAddr(MiB), true}, 600));
  EXPECT_EQ(pmap.lookup(0x2000).frame, 0x9000u);
  EXPECT_FALSE(writable(0x2000));
  EXPECT_EQ(pmap.lookup(0x1000).frame, MiB + 0x1000);
  EXPECT_EQ(pmap.lookup(599 * page_size).frame, MiB + 599 * page_size);
  EXPECT_FALSE(pmap.lookup(600 * page_size).present);
}

TEST_P(PmapTest, FillDirtyMakesEveryPageWritableAndModified) {
  const u64 flags = pmap.accessed_bit() | pmap.modified_bit();
  ASSERT_TRUE(pmap.enter(0x2000, {ArenaAddr(MiB + 0x2000), false}));
  ASSERT_TRUE(pmap.enter_large(2 * MiB, {ArenaAddr(3 * MiB + MiB), true}));
  ASSERT_TRUE(pmap.fill_dirty(0, {ArenaAddr(2 * MiB), true}, 513));
  for (u64 page = 0; page < 513; ++page) {
    ASSERT_EQ(leaf(page << page_shift) & flags, flags) << page;
    ASSERT_TRUE(writable(page << page_shift)) << page;
  }
  EXPECT_EQ(pmap.lookup(2 * MiB).count, 3u) << "a large leaf that already does stays whole";
}

TEST_P(PmapTest, MarkDirtySkipsReadOnlyPages) {
  ASSERT_TRUE(pmap.enter(0x1000, {ArenaAddr(0x1000), false}));
  ASSERT_TRUE(pmap.enter(0x2000, {ArenaAddr(0x2000), true}));
  pmap.mark_dirty(0, ~u64{0});
  EXPECT_FALSE(leaf(0x1000) & pmap.modified_bit());
  EXPECT_TRUE(leaf(0x2000) & pmap.modified_bit());
}

/// The model: what each 4 KiB page maps to.
struct Page {
  u64 frame;
  bool write;
};

TEST_P(PmapTest, RandomOperationsAgreeWithAModel) {
  std::mt19937_64 random(20130401);
  std::map<u64, Page> model;
  constexpr u64 base = 511 * GiB, pages = 4 * 512;  // across a boundary of top-level entries
  const u64 origin = base + GiB - 2 * superpage_size;
  const auto va_of = [&](u64 page) { return origin + (page << page_shift); };
  for (int round = 0; round < 4000; ++round) {
    const u64 page = random() % pages, count = 1 + random() % (random() % 4 ? 8 : 1200);
    const u64 frame = (random() % 4096) << page_shift;
    const bool write = random() % 2;
    switch (random() % 8) {
      case 0:
      case 1:
      case 2:
        ASSERT_TRUE(pmap.enter(va_of(page), {ArenaAddr(frame), write}));
        model[page] = {frame, write};
        break;
      case 3: {
        const u64 first = align_down(page, 512), large = align_down(frame, superpage_size);
        ASSERT_TRUE(pmap.enter_large(va_of(first), {ArenaAddr(large), write}));
        for (u64 i = 0; i < 512; ++i) model[first + i] = {large + (i << page_shift), write};
        break;
      }
      case 4:
        pmap.remove(va_of(page), count << page_shift);
        for (u64 i = 0; i < count; ++i) model.erase(page + i);
        break;
      case 5:
        pmap.write_protect(va_of(page), count << page_shift);
        for (u64 i = 0; i < count; ++i)
          if (model.contains(page + i)) model[page + i].write = false;
        break;
      case 6:
        ASSERT_TRUE(pmap.fill(va_of(page), {ArenaAddr(frame), write}, count));
        for (u64 i = 0; i < count; ++i)
          model.try_emplace(page + i, Page{frame + (i << page_shift), write});
        break;
      case 7:
        pmap.mark_dirty(va_of(page), count << page_shift);
        break;
    }
    for (u64 i = 0; i < 64; ++i) {
      const u64 p = i < 32 ? (page + i) % pages : random() % (2 * pages);
      const auto m = model.find(p);
      const Pmap::Lookup l = pmap.lookup(va_of(p));
      ASSERT_EQ(l.present, m != model.end()) << round << " page " << p;
      if (!l.present) continue;
      ASSERT_EQ(l.frame, m->second.frame) << round << " page " << p;
      ASSERT_EQ(writable(va_of(p)), m->second.write) << round << " page " << p;
    }
  }
  EXPECT_LE(pmap.table_pages(), 1 + 2 + 2 + 8u) << "tables are reused, not leaked";
}

TEST(PageTable, SplitsOfAGigabyteMappingGoDownToThePage) {
  FrameArena arena;
  TableFrames frames(arena);
  PageTable<Ept> table(Ept(true), arena, frames);
  using Change = PageTable<Ept>::Change;
  ASSERT_EQ(table.enter(0, 1, {ArenaAddr(0x7000), true}), Change::none);
  ASSERT_EQ(table.enter(0, 3, {ArenaAddr(4 * GiB), true}), Change::stale);
  EXPECT_EQ(table.lookup(GiB - 1).frame, 5 * GiB - 1);
  EXPECT_EQ(table.lookup(0).count, 2u);
  EXPECT_TRUE(table.remove(0x5000, 0x5fff));
  EXPECT_FALSE(table.lookup(0x5000).present);
  EXPECT_EQ(table.lookup(0).frame, 4 * GiB);
  EXPECT_EQ(table.lookup(0).count, 4u);
  EXPECT_EQ(table.lookup(2 * MiB).count, 3u);
  EXPECT_EQ(table.lookup(GiB - 1).frame, 5 * GiB - 1);
  EXPECT_EQ(frames.used(), 4u);
}

}  // namespace
}  // namespace bhyve::pmap
