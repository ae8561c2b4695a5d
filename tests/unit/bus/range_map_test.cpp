#include <gtest/gtest.h>

#include "bus/mmio_map.hpp"
#include "bus/pio_map.hpp"
#include "fakes.hpp"

namespace bhyve::bus {
namespace {

using test::FakeMmio;
using test::FakePio;

TEST(PioMap, OffsetCountsFromTheRangeAndValueIsCutToSize) {
  PioMap map;
  FakePio dev;
  ASSERT_TRUE(map.add(0x3f8, 8, dev));
  u32 v = 0;
  EXPECT_TRUE(map.read(0x3fa, 2, v));
  EXPECT_EQ(v, 0x5678u);
  EXPECT_EQ(dev.offset, 2);
  EXPECT_TRUE(map.write(0x3ff, 1, 0xabcd));
  EXPECT_EQ(dev.written, 0xcdu);
  EXPECT_EQ(dev.offset, 7);
}

TEST(PioMap, NothingReadsAllOnesAndIsReported) {
  PioMap map;
  for (const unsigned size : {1u, 2u, 4u}) {
    u32 v = 0;
    EXPECT_FALSE(map.read(0x80, size, v));
    EXPECT_EQ(v, static_cast<u32>((u64{1} << 8 * size) - 1));
    EXPECT_FALSE(map.write(0x80, size, 0));
  }
}

TEST(PioMap, AccessThatStraddlesAnEndHitsNothing) {
  PioMap map;
  FakePio a, b;
  ASSERT_TRUE(map.add(0x10, 4, a));
  ASSERT_TRUE(map.add(0x14, 4, b));
  u32 v = 0;
  EXPECT_FALSE(map.read(0x12, 4, v));
  EXPECT_EQ(v, ~u32{0});
  EXPECT_FALSE(map.write(0x0e, 4, 1));
  EXPECT_FALSE(map.read(0xffff, 4, v));  // past the last port
  EXPECT_EQ(a.reads + b.reads + a.writes + b.writes, 0);
}

TEST(PioMap, OverlapEmptyAndOutOfSpaceAreRefused) {
  PioMap map;
  FakePio a;
  ASSERT_TRUE(map.add(0x10, 4, a));
  for (const u32 base : {0x0du, 0x0fu, 0x10u, 0x13u}) EXPECT_EQ(map.add(base, 4, a).error().code, EEXIST);
  EXPECT_EQ(map.add(0x11, 1, a).error().code, EEXIST);
  EXPECT_EQ(map.add(0x20, 0, a).error().code, EINVAL);
  EXPECT_EQ(map.add(0xffff, 2, a).error().code, EINVAL);
  EXPECT_TRUE(map.add(0x0c, 4, a));
  EXPECT_TRUE(map.add(0xffff, 1, a));
}

TEST(PioMap, RemovedRangeIsGoneAndMayBeTakenAgain) {
  PioMap map;
  FakePio a, b;
  ASSERT_TRUE(map.add(0x10, 4, a));
  EXPECT_FALSE(map.remove(0x11));
  EXPECT_TRUE(map.remove(0x10));
  u32 v = 0;
  EXPECT_FALSE(map.read(0x10, 1, v));
  ASSERT_TRUE(map.add(0x10, 4, b));
  EXPECT_TRUE(map.read(0x10, 1, v));
  EXPECT_EQ(b.reads, 1);
}

TEST(PioMap, DeviceMayRemoveItselfDuringItsOwnAccess) {
  struct Suicidal final : Pio {
    PioMap& map;
    explicit Suicidal(PioMap& m) : map(m) {}
    u32 pio_read(u16, unsigned) override { return map.remove(0x10) ? 1 : 0; }
    void pio_write(u16, unsigned, u32) override {}
  };
  PioMap map;
  Suicidal dev(map);
  ASSERT_TRUE(map.add(0x10, 1, dev));
  u32 v = 0;
  EXPECT_TRUE(map.read(0x10, 1, v));
  EXPECT_EQ(v, 1u);
  EXPECT_FALSE(map.read(0x10, 1, v));
}

TEST(MmioMap, WrapAroundAndOddSizesAreRefused) {
  MmioMap map;
  FakeMmio dev;
  EXPECT_FALSE(map.add(Gpa(~u64{0} - 10), 12, dev));
  ASSERT_TRUE(map.add(Gpa(~u64{0} - 7), 8, dev));
  u64 v = 0;
  EXPECT_TRUE(map.read(Gpa(~u64{0} - 7), 8, 0, v));
  EXPECT_EQ(v, 0x1122334455667788u);
  EXPECT_FALSE(map.read(Gpa(~u64{0} - 3), 8, 0, v));
  EXPECT_EQ(v, ~u64{0});
  EXPECT_FALSE(map.read(Gpa(~u64{0} - 7), 3, 0, v));
  EXPECT_FALSE(map.write(Gpa(~u64{0} - 7), 16, 0, 0));
}

}  // namespace
}  // namespace bhyve::bus
