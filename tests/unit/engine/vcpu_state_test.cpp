#include "engine/vcpu_state.hpp"

#include <gtest/gtest.h>

#include <algorithm>

/// Power-up and INIT values: SDM vol. 3, table 10-1.
namespace bhyve::engine {
namespace {

using x86::Seg;

const x86::Segment& segment(const VcpuState& s, Seg which) {
  return s.seg[static_cast<usize>(which)];
}

TEST(VcpuState, StartsAtTheResetVector) {
  VcpuState s;
  s.reset(false);
  EXPECT_EQ(s.rip, 0xfff0u);
  EXPECT_EQ(segment(s, Seg::cs).selector, 0xf000);
  EXPECT_EQ(segment(s, Seg::cs).base, 0xffff'0000u);
  EXPECT_EQ(segment(s, Seg::cs).limit, 0xffffu);
  EXPECT_EQ(segment(s, Seg::cs).access, 0x93u);
  EXPECT_EQ(segment(s, Seg::ss).access, 0x93u);
  EXPECT_EQ(segment(s, Seg::ldtr).access, 0x82u);
  EXPECT_EQ(segment(s, Seg::tr).access, 0x8bu);
  EXPECT_EQ(s.idtr.limit, 0xffff);
  EXPECT_EQ(s.rflags, 2u);
  EXPECT_EQ(s.cr0, 0x6000'0010u);
  EXPECT_EQ(s.dr6, 0xffff'0ff0u);
  EXPECT_EQ(s.dr7, 0x400u);
  EXPECT_EQ(s.xcr0, 1u);
  EXPECT_EQ(s.pat, 0x0007'0406'0007'0406u);
}

TEST(VcpuState, PowersUpItsFpuAsTheManualSays) {
  VcpuState s;
  s.xsave.fill(0xaa);
  s.reset(false);
  EXPECT_EQ(s.xsave[0] | s.xsave[1] << 8, 0x0040);
  EXPECT_EQ(s.xsave[2] | s.xsave[3] << 8, 0);
  EXPECT_EQ(s.xsave[4], 0xff);
  EXPECT_EQ(s.xsave[24] | s.xsave[25] << 8, 0x1f80);
  EXPECT_EQ(s.xsave[512], 3);
  EXPECT_TRUE(
      std::all_of(s.xsave.begin() + 32, s.xsave.begin() + 512, [](u8 b) { return b == 0; }));
}

TEST(VcpuState, InitKeepsFpuMsrsAndCaching) {
  VcpuState s;
  s.reset(false);
  s.xsave[100] = 7;
  s.lstar = 0x1000;
  s.tsc_offset = 55;
  s.mtrr_def_type = 0xc06;
  s.xcr0 = 7;
  s.cr0 = x86::cr0::pe | x86::cr0::pg | x86::cr0::nw;
  s.cr4 = x86::cr4::pae;
  s.efer = x86::efer::lme | x86::efer::lma;
  s.gpr.fill(1);
  s.halted = s.nmi_blocked = s.interrupt_shadow = true;
  s.reset(true);
  EXPECT_EQ(s.xsave[100], 7);
  EXPECT_EQ(s.lstar, 0x1000u);
  EXPECT_EQ(s.tsc_offset, 55u);
  EXPECT_EQ(s.mtrr_def_type, 0xc06u);
  EXPECT_EQ(s.xcr0, 7u);
  EXPECT_EQ(s.cr0, x86::cr0::nw | x86::cr0::et);
  EXPECT_EQ(s.cr4, 0u);
  EXPECT_EQ(s.efer, 0u);
  EXPECT_EQ(s.gpr[0], 0u);
  EXPECT_EQ(s.rip, 0xfff0u);
  EXPECT_FALSE(s.halted || s.nmi_blocked || s.interrupt_shadow);
}

}  // namespace
}  // namespace bhyve::engine
