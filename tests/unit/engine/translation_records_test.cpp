// The flat tables of translations, their exits and who leads where.
#include "engine/soft/translate/translation_records.hpp"

#include <gtest/gtest.h>

#include <set>

namespace bhyve::soft {
namespace {

class TranslationRecordsTest : public ::testing::Test {
 protected:
  static constexpr usize region_bytes = 64 * KiB;
  Translation& add(usize region, u64 page, unsigned exits = 2) {
    std::vector<CodeExit> ways(exits);
    for (unsigned n = 0; n < exits; ++n) ways[n].jump = static_cast<u16>(100 + n);
    Translation& t = records.add(region, ways, {{7, 1}, {9, 0}});
    records.note_on_page(t, page);
    return t;
  }
  u32 number(const Translation& t) { return records.number_of(t); }
  u32 exit(const Translation& t, unsigned n) { return TranslationRecords::exit_number(number(t), n); }
  std::set<u32> on_page(u64 page) {
    std::set<u32> there;
    for (u32 n = records.take_page(page); n; n = records.at(n).next_on_page) there.insert(n);
    return there;
  }
  TranslationRecords records{3, region_bytes};
};

TEST_F(TranslationRecordsTest, NumbersAreTheRegions) {
  Translation &a = add(0, 1), &b = add(2, 1), &c = add(2, 1);
  EXPECT_NE(number(a), TranslationRecords::none);
  EXPECT_EQ(number(a), records.first(0));
  EXPECT_EQ(number(b), records.first(2));
  EXPECT_EQ(number(c) + 1, records.next(2));
  EXPECT_EQ(records.region_of(number(a)), 0u);
  EXPECT_EQ(records.region_of(number(c)), 2u);
  EXPECT_EQ(&records.from(exit(c, 1)), &c);
  EXPECT_EQ(records.exit(exit(c, 1)).jump, 101);
  EXPECT_EQ(records.place(c, 0).offset, 7);
  EXPECT_EQ(records.place(c, 0).flags_live, 1);
}

TEST_F(TranslationRecordsTest, LinksOfOneTargetAreAList) {
  Translation &target = add(0, 1), &a = add(0, 1), &b = add(1, 1), &c = add(2, 1);
  for (Translation* from : {&a, &b, &c}) records.link(exit(*from, 1), target);
  records.unlink(exit(b, 1));
  EXPECT_EQ(records.exit(exit(b, 1)).link, TranslationRecords::none);
  std::set<u32> in;
  for (u32 n = target.incoming; n; n = records.link_of(n).next) in.insert(records.link_of(n).exit);
  EXPECT_EQ(in, (std::set<u32>{exit(a, 1), exit(c, 1)}));
  records.unlink(exit(c, 1));
  records.unlink(exit(a, 1));
  EXPECT_EQ(target.incoming, TranslationRecords::none);
  records.link(exit(b, 0), c);
  EXPECT_EQ(records.link_of(c.incoming).exit, exit(b, 0));
}

TEST_F(TranslationRecordsTest, ARegionLeavesItsPages) {
  Translation &a = add(0, 1), &b = add(1, 1), &c = add(0, 1), &d = add(0, 2);
  records.note_on_second_page({number(b), 5}, 9);
  for (Translation* t : {&a, &c}) records.forget_region_on_page(*t, 1);
  records.forget_region_on_page(d, 2);
  records.forget(0);
  EXPECT_EQ(on_page(1), std::set<u32>{number(b)});
  EXPECT_EQ(on_page(2), std::set<u32>{});
  ASSERT_NE(records.on_second_page(9), nullptr);
  EXPECT_EQ((*records.on_second_page(9))[0].tag, 5u);
  records.forget_on_second_page(b, 9);
  EXPECT_EQ(records.on_second_page(9), nullptr);
}

TEST_F(TranslationRecordsTest, OneLeavesItsPage) {
  Translation &a = add(0, 1), &b = add(1, 1), &c = add(0, 1);
  records.forget_on_page(b, 1);
  EXPECT_EQ(on_page(1), (std::set<u32>{number(a), number(c)}));
}

TEST_F(TranslationRecordsTest, ARegionIsFullByNumberOrByExits) {
  unsigned many = 0;
  while (records.has_room(0)) add(0, 1, 0), ++many;
  EXPECT_EQ(many, region_bytes / TranslationRecords::bytes_each - 1);  // number 0 is none
  unsigned few = 0;
  while (records.has_room(1)) add(1, 1, TranslationRecords::most_exits), ++few;
  EXPECT_LT(few, many);
  records.forget(1);
  EXPECT_TRUE(records.has_room(1));
  EXPECT_EQ(records.next(1), records.first(1));
}

TEST_F(TranslationRecordsTest, TakeAQuarterOfTheMemory) {
  for (const usize bytes : {4 * KiB, 64 * KiB, 4 * MiB})
    EXPECT_LE(TranslationRecords::bytes_of(bytes), bytes / 4) << bytes;
}

}  // namespace
}  // namespace bhyve::soft
