#include <gtest/gtest.h>

#include "pmap/pmap.hpp"
#include "pmap/pmap_ept.hpp"
#include "pmap/pmap_x86.hpp"

namespace bhyve::pmap {
namespace {

TEST(EptFormat, BitPositionsFollowTheKindOfAccessedDirtyFlags) {
  FrameArena arena;
  {
    const Pmap hardware(PmapType::pt_ept, arena);
    EXPECT_EQ(hardware.valid_bit(), bit(0));
    EXPECT_EQ(hardware.rw_bit(), bit(1));
    EXPECT_EQ(hardware.accessed_bit(), bit(8));
    EXPECT_EQ(hardware.modified_bit(), bit(9));
  }
  {
    const Pmap emulated(PmapType::pt_ept, arena, {.ad_bits = false});
    EXPECT_EQ(emulated.valid_bit(), bit(52));
    EXPECT_EQ(emulated.rw_bit(), bit(53));
    EXPECT_EQ(emulated.accessed_bit(), bit(0));
    EXPECT_EQ(emulated.modified_bit(), bit(1));
  }
  const Pmap x86(PmapType::pt_x86, arena);
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

TEST(EptFormat, EmulatedFlagsAreTheRightsToReadAndWrite) {
  const Ept ept(false);
  constexpr u64 mask = Ept::sw_valid | Ept::sw_write | Ept::read | Ept::write | Ept::exec;
  const auto rights = [&](const Mapping& m) { return ept.leaf(m, 1) & mask; };
  EXPECT_EQ(rights({.frame = ArenaAddr(0x5000), .write = true}),
            Ept::sw_valid | Ept::sw_write | Ept::exec)
      << "untouched: nothing but execution is granted";
  EXPECT_EQ(rights({.frame = ArenaAddr(0x5000), .write = true, .accessed = true}),
            Ept::sw_valid | Ept::sw_write | Ept::exec | Ept::read);
  EXPECT_EQ(rights({.frame = ArenaAddr(0x5000), .write = true, .modified = true}), mask);
  EXPECT_EQ(rights({.frame = ArenaAddr(0x5000), .exec = false, .modified = true}),
            Ept::sw_valid | Ept::read)
      << "a page that may not be written is not modified";
  const u64 rw = ept.leaf({.frame = ArenaAddr(0x5000), .write = true, .modified = true}, 1);
  EXPECT_EQ(ept.without_write(rw),
            ept.leaf({.frame = ArenaAddr(0x5000), .write = false, .accessed = true}, 1));
}

TEST(EptFormat, WithoutExecuteOnlyALeafThatMayBeExecutedStartsAsAccessed) {
  const Ept both(false, false), exec_only(false, true);
  const Mapping code{.frame = ArenaAddr(0x5000), .write = true};
  EXPECT_TRUE(both.leaf(code, 1) & Ept::read);
  EXPECT_FALSE(both.safe_to_clear_referenced(both.leaf(code, 1)));
  EXPECT_FALSE(exec_only.leaf(code, 1) & Ept::read);
  EXPECT_TRUE(exec_only.safe_to_clear_referenced(exec_only.leaf(code, 1) | Ept::read));
  EXPECT_FALSE(exec_only.safe_to_clear_referenced(exec_only.leaf(code, 1) | Ept::read | Ept::write));
  const Mapping data{.frame = ArenaAddr(0x5000), .write = true, .exec = false};
  EXPECT_FALSE(both.leaf(data, 1) & (Ept::read | Ept::exec));
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
