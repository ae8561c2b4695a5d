#include "platform/aml_term.hpp"

#include <gtest/gtest.h>

namespace bhyve::platform::aml {
namespace {

TEST(AmlTerm, IntegersTakeTheShortestForm) {
  EXPECT_EQ(integer(0), (Term{0x00}));
  EXPECT_EQ(integer(1), (Term{0x01}));
  EXPECT_EQ(integer(2), (Term{0x0a, 2}));
  EXPECT_EQ(integer(0x1234), (Term{0x0b, 0x34, 0x12}));
  EXPECT_EQ(integer(0x12345678), (Term{0x0c, 0x78, 0x56, 0x34, 0x12}));
  EXPECT_EQ(integer(u64{1} << 32), (Term{0x0e, 0, 0, 0, 0, 1, 0, 0, 0}));
}

TEST(AmlTerm, PathsPadSegmentsAndCountThem) {
  EXPECT_EQ(path("ISA"), (Term{'I', 'S', 'A', '_'}));
  EXPECT_EQ(path("\\_SB.PC00"), (Term{'\\', 0x2e, '_', 'S', 'B', '_', 'P', 'C', '0', '0'}));
  EXPECT_EQ(path("^A.B.C"), (Term{'^', 0x2f, 3, 'A', '_', '_', '_', 'B', '_', '_', '_', 'C', '_',
                                  '_', '_'}));
  EXPECT_EQ(path("\\"), (Term{'\\', 0}));
}

TEST(AmlTerm, EisaIdIsCompressedBigEndian) {
  EXPECT_EQ(eisa_id("PNP0A03"), (Term{0x0c, 0x41, 0xd0, 0x0a, 0x03}));
}

TEST(AmlTerm, UuidHasItsFirstThreeFieldsReversed) {
  const Term expected{0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40,
                      0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66};
  EXPECT_EQ(uuid("33db4d5b-1ff7-401c-9657-7441c03dd766"), buffer(expected));
}

TEST(AmlTerm, PackageLengthCountsItselfAndGrowsAtTheRightSizes) {
  const auto header_of = [](usize body) {
    return device("ABCD", {Term(body - 4, 0xa3)});
  };
  const Term small = header_of(62);  // 62 + 1 = 63, the last that fits in one byte
  EXPECT_EQ(small[2], 63);
  const Term two = header_of(63);
  EXPECT_EQ(two[2], 0x40 | (65 & 0xf));
  EXPECT_EQ(two[3], 65 >> 4);
  const Term edge = header_of(4093);  // 4095: the last in two bytes
  EXPECT_EQ(edge[2], 0x4f);
  EXPECT_EQ(edge[3], 0xff);
  const Term three = header_of(4094);  // 4097
  EXPECT_EQ(three[2], 0x81);
  EXPECT_EQ(three[3], 0x00);
  EXPECT_EQ(three[4], 0x01);
}

TEST(AmlTerm, FieldUnitsGiveWidthsInBits) {
  const Term field = byte_field("REGS", {{"", 0x300}, {"AAAA", 8}});
  const Term expected{0x5b, 0x81, 14, 'R', 'E', 'G', 'S', 0x01, 0x00, 0x40, 0x30,
                      'A',  'A',  'A', 'A', 8};
  EXPECT_EQ(field, expected);
}

TEST(AmlTerm, MethodsAreSerializedAndCarryTheirArgumentCount) {
  EXPECT_EQ(method("_SRS", 1, {}), (Term{0x14, 6, '_', 'S', 'R', 'S', 0x09}));
}

}  // namespace
}  // namespace bhyve::platform::aml
