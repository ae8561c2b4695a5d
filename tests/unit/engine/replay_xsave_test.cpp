// The XSAVE family, FXSAVE and x87 environments as a guest sees them.
#include "engine/soft/replay/parked_registers.hpp"
#include "engine/soft/replay/xsave_format.hpp"
#include "replay_fixture.hpp"

namespace bhyve::soft {
namespace {

using x86::Gpr;
using Feature = CpuModel::Feature;
constexpr int nm = 7, ud = 6, gp = 13, pf = 14;

// The operand is [rdi].
const std::vector<u8> xsave64{0x48, 0x0f, 0xae, 0x27}, xrstor64{0x48, 0x0f, 0xae, 0x2f},
    xsaveopt64{0x48, 0x0f, 0xae, 0x37}, xsavec64{0x48, 0x0f, 0xc7, 0x27},
    xsaves64{0x48, 0x0f, 0xc7, 0x2f}, xrstors64{0x48, 0x0f, 0xc7, 0x1f},
    fxsave64{0x48, 0x0f, 0xae, 0x07}, fxrstor64{0x48, 0x0f, 0xae, 0x0f}, fnsave{0xdd, 0x37},
    frstor{0xdd, 0x27}, fnstenv16{0x66, 0xd9, 0x37};
constexpr u64 area = 0x20000;

class XsaveTest : public ReplayTest {
 protected:
  XsaveTest() {
    reg(Gpr::rdi) = area;
    reg(Gpr::rax) = reg(Gpr::rdx) = 0xffff'ffff;
    u8 junk[4096];
    std::memset(junk, 0xa5, sizeof junk);
    put(area, junk, sizeof junk);
    put(area + 512, XsaveHeader{});
  }
  /// Every byte of vector register n is n + `salt`.
  void fill(unsigned count, u8 salt) {
    ParkedRegisters registers(cpu->fpu);
    for (unsigned n = 0; n < count; ++n) {
      ParkedRegisters::Vector v;
      std::memset(v.bytes.data(), static_cast<int>(n + salt), 64);
      registers.write(n, v);
    }
  }
  XsaveHeader header() { return get<XsaveHeader>(area + 512); }
};

TEST_F(XsaveTest, StandardFormatHasIntelsOffsetsAndXinuse) {
  if (!has(Feature::avx512f)) GTEST_SKIP() << "no AVX-512";
  fill(32, 1);
  cpu->fpu.fip = 0x1122334455667788;
  ASSERT_EQ(run(xsave64), none);
  EXPECT_EQ(header().xstate_bv & 0xc6, 0xc6u);
  EXPECT_EQ(header().xcomp_bv, 0u);
  EXPECT_EQ(get<u64>(area + 8), 0x1122334455667788u);
  EXPECT_EQ(get<u32>(area + 28), 0xffffu) << "MXCSR_MASK is Intel's";
  EXPECT_EQ(get<u8>(area + 160 + 3 * 16), 4);
  EXPECT_EQ(get<u8>(area + 576 + 3 * 16), 4);
  EXPECT_EQ(get<u8>(area + 1152 + 3 * 32), 4);
  EXPECT_EQ(get<u8>(area + 1664 + 3 * 64), 20);
  EXPECT_EQ(get<u8>(area + 464), 0xa5) << "bytes for software are not written";
}

TEST_F(XsaveTest, RestoreBringsBackEveryForm) {
  if (!has(Feature::avx512f)) GTEST_SKIP() << "no AVX-512";
  std::vector<std::pair<std::vector<u8>, std::vector<u8>>> forms{{xsave64, xrstor64}};
  if (has(Feature::xsaveopt)) forms.emplace_back(xsaveopt64, xrstor64);
  if (has(Feature::xsavec)) forms.emplace_back(xsavec64, xrstor64);
  if (has(Feature::xsaves)) forms.emplace_back(xsaves64, xrstors64);
  for (const auto& [save, restore] : forms) {
    put(area + 512, XsaveHeader{});
    fill(32, 1);
    ParkedRegisters(cpu->fpu).set_opmask(3, 0x123456789abcdef0);
    ParkedRegisters(cpu->fpu).legacy().head.mxcsr = 0x9fc0;
    ASSERT_EQ(run(save), none);
    fill(32, 90);
    ParkedRegisters(cpu->fpu).set_opmask(3, 5);
    ParkedRegisters(cpu->fpu).legacy().head.mxcsr = 0x1f80;
    ASSERT_EQ(run(restore), none);
    ParkedRegisters registers(cpu->fpu);
    for (unsigned n = 0; n < 32; ++n)
      EXPECT_EQ(registers.read(n).element(7, 8), (n + 1) * 0x0101010101010101u) << n;
    EXPECT_EQ(registers.opmask(3), 0x123456789abcdef0u);
    EXPECT_EQ(registers.legacy().head.mxcsr, 0x9fc0u);
  }
}

TEST_F(XsaveTest, CompactedFormSkipsWhatIsInitial) {
  if (!has(Feature::xsavec)) GTEST_SKIP() << "no XSAVEC";
  reg(Gpr::rax) = 7;
  reg(Gpr::rdx) = 0;
  cpu->fpu.xstate_bv() = 0;
  ASSERT_EQ(run(xsavec64), none);
  EXPECT_EQ(header().xstate_bv & 4, 0u);
  EXPECT_EQ(header().xcomp_bv, xcomp_compacted | 7);
  EXPECT_EQ(get<u8>(area + 576), 0xa5);
}

TEST_F(XsaveTest, RestoreWithClearBitsInitialises) {
  fill(16, 1);
  put(area + 512, XsaveHeader{});
  put<u32>(area + 24, 0x1f80);
  ASSERT_EQ(run(xrstor64), none);
  const ParkedRegisters registers(cpu->fpu);
  for (unsigned n = 0; n < 16; ++n) EXPECT_EQ(registers.read(n).element(0, 8), 0u);
}

TEST_F(XsaveTest, RequestedComponentsAloneChange) {
  fill(16, 1);
  reg(Gpr::rax) = 4;
  reg(Gpr::rdx) = 0;
  put<u32>(area + 24, 0x1f80);
  ASSERT_EQ(run(xrstor64), none);
  const ParkedRegisters registers(cpu->fpu);
  EXPECT_EQ(registers.read(2).element(0, 8), 0x0303030303030303u);
  EXPECT_EQ(registers.read(2).element(2, 8), 0u);
}

TEST_F(XsaveTest, FaultsComeInTheirOrder) {
  EXPECT_EQ(run({0x48, 0x0f, 0xae, 0x67, 0x08}), gp) << "[rdi + 8] is not aligned to 64";
  put<u32>(area + 24, 0x1'0000);
  EXPECT_EQ(run(xrstor64), gp) << "reserved MXCSR bit";
  put<u64>(area + 512, bit(62));
  EXPECT_EQ(run(xrstor64), gp);
  start_state.cr0 |= x86::cr0::ts;
  EXPECT_EQ(run(xsave64), nm);
  start_state.cr4 &= ~x86::cr4::osxsave;
  EXPECT_EQ(run(xsave64), ud);
}

TEST_F(XsaveTest, SupervisorFormsNeedTheFeature) {
  const bool offered = has(Feature::xsaves);
  EXPECT_EQ(run(xsaves64), offered ? none : ud);
  EXPECT_EQ(run(xrstors64), offered ? none : ud);
}

TEST_F(XsaveTest, PageFaultLeavesRegistersAlone) {
  fill(16, 1);
  put(hole - 512, get<std::array<u8, 512>>(area));
  reg(Gpr::rdi) = hole - 512;
  EXPECT_EQ(run(xrstor64), pf);
  EXPECT_EQ(cpu->s.cr2, hole);
  EXPECT_EQ(ParkedRegisters(cpu->fpu).read(2).element(0, 8), 0x0303030303030303u);
  EXPECT_EQ(run(xsave64), pf);
}

TEST_F(XsaveTest, FxsaveKeepsGuestPointersAndRoundTrips) {
  fill(16, 1);
  cpu->fpu.fip = 0x123456789abc;
  cpu->fpu.fdp = 0xdef012345678;
  cpu->fpu.fop = 0x5ab;
  ASSERT_EQ(run(fxsave64), none);
  EXPECT_EQ(get<u64>(area + 8), 0x123456789abcu);
  EXPECT_EQ(get<u64>(area + 16), 0xdef012345678u);
  EXPECT_EQ(get<u16>(area + 6), 0x5ab);
  EXPECT_EQ(get<u8>(area + 416), 0xa5);
  fill(16, 50);
  cpu->fpu.fip = 0;
  ASSERT_EQ(run(fxrstor64), none);
  EXPECT_EQ(cpu->fpu.fip, 0x123456789abcu);
  EXPECT_EQ(ParkedRegisters(cpu->fpu).read(15).element(0, 8), 0x1010101010101010u);
  put<u32>(area + 24, 0x8000'0000);
  EXPECT_EQ(run(fxrstor64), gp);
  reg(Gpr::rdi) = area + 8;
  EXPECT_EQ(run(fxsave64), gp);
}

TEST_F(XsaveTest, WhatLiesBehindX87RegistersIsNotKept) {
  for (const auto& restore : {fxrstor64, xrstor64}) {
    u8 image[512] = {0x7f, 0x03, 0, 0, 0xff};
    std::memset(image + 32, 0x5a, 128);
    const u32 mxcsr = 0x1f80;
    std::memcpy(image + 24, &mxcsr, sizeof mxcsr);
    put(area, image, sizeof image);
    put(area + 512, XsaveHeader{3, 0, {}});
    ASSERT_EQ(run(restore), none);
    for (const auto& save : {fxsave64, xsave64}) {
      ASSERT_EQ(run(save), none);
      EXPECT_EQ(get<u16>(area + 32 + 8), 0x5a5a);
      EXPECT_EQ(get<u16>(area + 32 + 10), 0);
      EXPECT_EQ(get<u32>(area + 32 + 12), 0u);
    }
  }
}

TEST_F(XsaveTest, FnsaveInitialisesAndFrstorBringsBack) {
  // fninit; fld1; fldpi; fnsave [rdi]
  ASSERT_EQ(run({0xdb, 0xe3, 0xd9, 0xe8, 0xd9, 0xeb, 0xdd, 0x37}), none);
  EXPECT_EQ(get<u32>(area), 0xffff037fu);
  EXPECT_EQ(get<u32>(area + 4), 0xffff3000u);
  EXPECT_EQ(get<u32>(area + 8), 0xffff0fffu);
  EXPECT_EQ(get<u64>(area + 28), 0xc90fdaa22168c235u) << "pi in ST(0)";
  EXPECT_EQ(ParkedRegisters(cpu->fpu).legacy().head.ftw, 0);
  ASSERT_EQ(run(frstor), none);
  EXPECT_EQ(ParkedRegisters(cpu->fpu).legacy().head.ftw, 0xc0);
  EXPECT_EQ(ParkedRegisters(cpu->fpu).legacy().head.fsw, 0x3000);
  ASSERT_EQ(run(fnstenv16), none);
  EXPECT_EQ(get<u16>(area + 4), 0x0fff);
}

}  // namespace
}  // namespace bhyve::soft
