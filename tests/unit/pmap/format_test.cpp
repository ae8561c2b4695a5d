#include <gtest/gtest.h>

#include "pmap/pmap.hpp"
#include "pmap/pmap_ept.hpp"
#include "pmap/pmap_x86.hpp"

namespace bhyve::pmap {
namespace {

TEST(EptFormat, BitPositionsFollowTheKindOfAccessedDirtyFlags) {
  FrameArena arena;
  {
    const Pmap hardware(PmapType::pt_ept, arena, true);
    EXPECT_EQ(hardware.valid_bit(), bit(0));
    EXPECT_EQ(hardware.rw_bit(), bit(1));
    EXPECT_EQ(hardware.accessed_bit(), bit(8));
    EXPECT_EQ(hardware.modified_bit(), bit(9));
  }
  {
    const Pmap emulated(PmapType::pt_ept, arena, false);
    EXPECT_EQ(emulated.valid_bit(), bit(52));
    EXPECT_EQ(emulated.rw_bit(), bit(53));
    EXPECT_EQ(emulated.accessed_bit(), bit(0));
    EXPECT_EQ(emulated.modified_bit(), bit(1));
  }
  const Pmap x86(PmapType::pt_x86, arena, true);
  EXPECT_EQ(x86.valid_bit(), bit(0));
  EXPECT_EQ(x86.rw_bit(), bit(1));
  EXPECT_EQ(x86.accessed_bit(), bit(5));
  EXPECT_EQ(x86.modified_bit(), bit(6));
}

TEST(EptFormat, LeafHoldsRightsMemoryTypeAndFrame) {
  const Ept ept(true);
  const u64 rx = ept.leaf({FrameArena::address(3, 0x5000), false, true, false, true}, 1);
  EXPECT_EQ(rx & 7, 5u);
  EXPECT_EQ(Ept::MemoryType::get(rx), 6u);
  EXPECT_TRUE(rx & Ept::ignore_pat);
  EXPECT_TRUE(rx & Ept::wired);
  EXPECT_EQ(Ept::frame(rx), FrameArena::address(3, 0x5000));
  const u64 rw = ept.leaf({ArenaAddr(0x5000), true, false, true, false}, 1);
  EXPECT_EQ(rw & 7, 3u);
  EXPECT_EQ(Ept::MemoryType::get(rw), 0u);
}

TEST(EptFormat, EmulatedFlagsMakeLeavesThatHardwareAndSoftwareReadAlike) {
  const Ept ept(false);
  const u64 ro = ept.leaf({ArenaAddr(0x5000), false}, 1);
  EXPECT_EQ(ro & (Ept::sw_valid | Ept::sw_write | Ept::read | Ept::write),
            Ept::sw_valid | Ept::read);
  const u64 rw = ept.leaf({ArenaAddr(0x5000), true}, 1);
  EXPECT_EQ(Ept::without_write(rw), ro);
}

TEST(EptFormat, SplitLeavesInheritRightsMemoryTypeAccessedAndDirty) {
  const Ept ept(true);
  const u64 big = ept.leaf({ArenaAddr(GiB), true, false, true}, 2) | Ept::hw_accessed |
                  Ept::hw_dirty | Ept::promoted;
  EXPECT_EQ(Ept::split(big, 2),
            (ept.leaf({ArenaAddr(GiB), true, false, true}, 1) | Ept::hw_accessed | Ept::hw_dirty));
  EXPECT_EQ(Ept::split(ept.leaf({ArenaAddr(GiB), true}, 3), 3),
            ept.leaf({ArenaAddr(GiB), true}, 2));
}

TEST(Formats, OnlyLostRightsAndOtherFramesOrTypesAreStale) {
  const Ept ept(true);
  const u64 ro = ept.leaf({ArenaAddr(0x5000), false, false}, 1);
  const u64 rwx = ept.leaf({ArenaAddr(0x5000), true, true}, 1);
  EXPECT_FALSE(ept.stale(ro, rwx));
  EXPECT_TRUE(ept.stale(rwx, ro));
  EXPECT_TRUE(ept.stale(ro, ept.leaf({ArenaAddr(0x6000), false, false}, 1)));
  EXPECT_TRUE(ept.stale(ro, ept.leaf({ArenaAddr(0x5000), false, false, true}, 1)));
  EXPECT_FALSE(ept.stale(ro, ro | Ept::hw_accessed));
  const u64 x_nx = X86::leaf({ArenaAddr(0x5000), true, false}, 1);
  const u64 x_all = X86::leaf({ArenaAddr(0x5000), true, true}, 1);
  EXPECT_TRUE(X86::stale(x_all, x_nx));
  EXPECT_FALSE(X86::stale(x_nx, x_all));
}

}  // namespace
}  // namespace bhyve::pmap
