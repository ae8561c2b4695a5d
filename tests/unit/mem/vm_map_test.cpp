#include "mem/vm_map.hpp"

#include <gtest/gtest.h>

namespace bhyve::mem {
namespace {

class VmMapTest : public testing::Test {
 protected:
  std::unique_ptr<VmObject> ram = std::move(*VmObject::create("ram", 0, 64 * page_size));
  std::unique_ptr<VmObject> rom = std::move(*VmObject::create("rom", 2, 4 * page_size));
  VmMap map;
  VmMapTest() { map.add_ram(0, 64 * page_size, ram.get()); }
};

TEST_F(VmMapTest, ASegmentHidesRamAndCutsItInTwo) {
  ASSERT_TRUE(map.add_segment(0x8000, {0x4000, Prot::rx, rom.get(), "rom"}));
  const auto below = map.find(0x7fff), at = map.find(0x8000), above = map.find(0xc000);
  ASSERT_TRUE(below && at && above);
  EXPECT_EQ(below->object, ram.get());
  EXPECT_EQ(below->end, 0x8000u);
  EXPECT_EQ(at->object, rom.get());
  EXPECT_EQ(at->host(0x9000), rom->data() + 0x1000);
  EXPECT_EQ(above->object, ram.get());
  EXPECT_EQ(above->start, 0xc000u);
  EXPECT_EQ(above->host(0xd000), ram->data() + 0xd000) << "RAM offsets are addresses";
  const auto all = map.entries();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].end, all[1].start);
  EXPECT_EQ(all[1].end, all[2].start);
}

TEST_F(VmMapTest, SegmentsNeverOverlap) {
  ASSERT_TRUE(map.add_segment(0x8000, {0x4000, Prot::rx, rom.get(), "a"}));
  EXPECT_FALSE(map.add_segment(0x8000, {0x1000, Prot::rx, rom.get(), "b"}));
  EXPECT_FALSE(map.add_segment(0x7000, {0x2000, Prot::rx, rom.get(), "b"}));
  EXPECT_FALSE(map.add_segment(0xb000, {0x4000, Prot::rx, rom.get(), "b"}));
  EXPECT_FALSE(map.add_segment(0x0000, {0x4'0000, Prot::rx, rom.get(), "b"}));
  EXPECT_TRUE(map.add_segment(0x4000, {0x4000, Prot::rx, rom.get(), "b"}));
  EXPECT_TRUE(map.add_segment(0xc000, {0x4000, Prot::rx, rom.get(), "c"}));
}

TEST_F(VmMapTest, RemovingASegmentShowsTheRamAgain) {
  ASSERT_TRUE(map.add_segment(0, {0x4000, Prot::rx, rom.get(), "rom"}));
  EXPECT_EQ(map.entries().size(), 2u);
  EXPECT_FALSE(map.remove_segment(0x1000));
  EXPECT_TRUE(map.remove_segment(0));
  EXPECT_EQ(map.find(0)->object, ram.get());
  EXPECT_EQ(map.entries().size(), 1u);
}

TEST_F(VmMapTest, HolesAreNothing) {
  EXPECT_FALSE(map.find(64 * page_size));
  EXPECT_FALSE(map.find(~u64{0}));
}

}  // namespace
}  // namespace bhyve::mem
