#include "intc/vlapic.hpp"

#include "intc_fakes.hpp"

namespace bhyve::intc {
namespace {

class VlapicTest : public LapicFixture {};

TEST_F(VlapicTest, PowerUpStateIsTheManuals) {
  EXPECT_EQ(apic(0).apic_base(), 0xfee0'0900u);
  EXPECT_EQ(apic(2).apic_base(), 0xfee0'0800u);
  EXPECT_EQ(read(LapicReg::id, 2), 2u << 24);
  EXPECT_EQ(read(LapicReg::version), 0x0106'0014u);
  EXPECT_EQ(read(LapicReg::dfr), 0xffff'ffffu);
  EXPECT_EQ(read(LapicReg::svr), 0xffu);
  for (const LapicReg reg :
       {LapicReg::lvt_cmci, LapicReg::lvt_timer, LapicReg::lvt_thermal, LapicReg::lvt_perf,
        LapicReg::lvt_lint0, LapicReg::lvt_lint1, LapicReg::lvt_error})
    EXPECT_EQ(read(reg), 0x10000u);
  EXPECT_FALSE(apic().enabled());
}

TEST_F(VlapicTest, HigherVectorIsTakenFirstAndBlocksItsClass) {
  enable(0);
  apic().set_irr(0x41, false);
  apic().set_irr(0x52, false);
  EXPECT_EQ(take(), 0x52);
  apic().set_irr(0x5f, false);
  EXPECT_EQ(take(), -1) << "same class as the one in service";
  apic().set_irr(0x60, false);
  EXPECT_EQ(take(), 0x60);
  write(LapicReg::eoi, 0);
  write(LapicReg::eoi, 0);
  EXPECT_EQ(take(), 0x5f);
  write(LapicReg::eoi, 0);
  EXPECT_EQ(take(), 0x41);
}

TEST_F(VlapicTest, TprBlocksItsClassAndBelow) {
  enable(0);
  apic().set_irr(0x45, false);
  write(LapicReg::tpr, 0x40);
  EXPECT_EQ(apic().pending_vector(), -1);
  write(LapicReg::tpr, 0x3f);
  EXPECT_EQ(apic().pending_vector(), 0x45);
}

TEST_F(VlapicTest, PprIsTprOrTheClassInService) {
  enable(0);
  write(LapicReg::tpr, 0x23);
  EXPECT_EQ(read(LapicReg::ppr), 0x23u);
  apic().set_irr(0x47, false);
  EXPECT_EQ(take(), 0x47);
  EXPECT_EQ(read(LapicReg::ppr), 0x40u);
  write(LapicReg::tpr, 0x41);
  EXPECT_EQ(read(LapicReg::ppr), 0x41u);
}

TEST_F(VlapicTest, Cr8IsTheHighHalfOfTpr) {
  write(LapicReg::tpr, 0x57);
  EXPECT_EQ(apic().cr8(), 5u);
  apic().set_cr8(9);
  EXPECT_EQ(read(LapicReg::tpr), 0x90u);
  EXPECT_EQ(read(LapicReg::ppr), 0x90u);
}

TEST_F(VlapicTest, EoiOfALevelVectorIsBroadcastAndOfAnEdgeVectorIsNot) {
  enable(0);
  apic().set_irr(0x61, true);
  apic().set_irr(0x72, false);
  EXPECT_EQ(read(static_cast<LapicReg>(0x180 + 3 * 16)), 1u << 1);
  EXPECT_EQ(take(), 0x72);
  EXPECT_EQ(take(), -1);
  write(LapicReg::eoi, 0);
  EXPECT_TRUE(eois.vectors.empty());
  EXPECT_EQ(take(), 0x61);
  write(LapicReg::eoi, 0xdead);
  EXPECT_EQ(eois.vectors, std::vector<u8>{0x61});
}

TEST_F(VlapicTest, SuppressionKeepsTheEoiFromTheIoApic) {
  write(LapicReg::svr, 0x11ff);
  apic().set_irr(0x61, true);
  EXPECT_EQ(take(), 0x61);
  write(LapicReg::eoi, 0);
  EXPECT_TRUE(eois.vectors.empty());
  EXPECT_EQ(read(static_cast<LapicReg>(0x100 + 3 * 16)), 0u);
}

TEST_F(VlapicTest, WhatALowerPriorityLetsInIsAnnouncedAgain) {
  enable(0);
  write(LapicReg::tpr, 0x60);
  apic().set_irr(0x50, false);
  const unsigned before = sink.notifies;
  write(LapicReg::tpr, 0x50);
  EXPECT_EQ(sink.notifies, before) << "still held back";
  write(LapicReg::tpr, 0);
  EXPECT_EQ(sink.notifies, before + 1);
  EXPECT_EQ(take(), 0x50);
  apic().set_irr(0x51, false);
  const unsigned nested = sink.notifies;
  write(LapicReg::eoi, 0);
  EXPECT_EQ(sink.notifies, nested + 1);
  write(LapicReg::lvt_lint0, 0x700);
  EXPECT_EQ(sink.notifies, nested + 2);
}

TEST_F(VlapicTest, EoiWithNothingInServiceIsHarmless) {
  enable(0);
  write(LapicReg::eoi, 0);
  EXPECT_TRUE(eois.vectors.empty());
}

TEST_F(VlapicTest, AVectorThatIsAlreadyRequestedIsAnnouncedOnce) {
  enable(0);
  EXPECT_TRUE(apic().set_irr(0x50, false));
  EXPECT_TRUE(apic().set_irr(0x50, false));
  EXPECT_EQ(sink.notifies, 1u);
}

TEST_F(VlapicTest, SoftwareDisableDropsNewVectorsHoldsOldOnesAndMasksLvts) {
  enable(0);
  apic().set_irr(0x50, false);
  write(LapicReg::lvt_lint0, 0x700);
  write(LapicReg::svr, 0xff);
  EXPECT_FALSE(apic().set_irr(0x60, false));
  EXPECT_EQ(apic().pending_vector(), 0x50);
  EXPECT_EQ(read(LapicReg::lvt_lint0), 0x10700u);
  write(LapicReg::lvt_lint0, 0x700);
  EXPECT_EQ(read(LapicReg::lvt_lint0), 0x10700u) << "the mask cannot be cleared";
  enable(0);
  EXPECT_EQ(read(LapicReg::lvt_lint0), 0x10700u) << "enabling does not unmask";
}

TEST_F(VlapicTest, EsrShowsErrorsOnlyAfterAWriteAndUntilTheNext) {
  enable(0);
  EXPECT_FALSE(apic().set_irr(15, false));
  EXPECT_EQ(read(LapicReg::esr), 0u);
  EXPECT_EQ(errors(), 0x40u);
  EXPECT_EQ(read(LapicReg::esr), 0x40u);
  EXPECT_EQ(errors(), 0u);
}

TEST_F(VlapicTest, AccessToAReservedRegisterIsAnError) {
  enable(0);
  EXPECT_EQ(apic().mmio_read(0x40, 0), 0u);
  EXPECT_EQ(errors(), 0x80u);
  apic().mmio_write(0x3f0, 0x30, 0);
  EXPECT_EQ(errors(), 0x80u) << "self IPI exists in x2APIC mode alone";
  apic().mmio_write(0xff0, 1, 0);
  EXPECT_EQ(errors(), 0x80u);
  write(LapicReg::version, 1);
  EXPECT_EQ(apic().mmio_read(0x24, 0), 0u);
  EXPECT_EQ(apic().mmio_read(0xffff'fff1, 0), 0u);
  EXPECT_EQ(errors(), 0u);
}

TEST_F(VlapicTest, ErrorsFireTheErrorEntryEvenIfItsOwnVectorIsIllegal) {
  enable(0);
  write(LapicReg::lvt_error, 0x33);
  apic().set_irr(3, false);
  EXPECT_EQ(take(), 0x33);
  write(LapicReg::lvt_error, 0x05);
  write(LapicReg::icr_low, 0x40003);
  EXPECT_EQ(errors(), 0x60u);
}

TEST_F(VlapicTest, LvtFiresInTheModeThatIsProgrammed) {
  enable(0);
  EXPECT_FALSE(apic().fire_lvt(0)) << "masked";
  write(LapicReg::lvt_lint0, 0x700);
  write(LapicReg::lvt_lint1, 0x400);
  write(LapicReg::lvt_error, 0x431);
  write(LapicReg::lvt_thermal, 0x32);
  write(LapicReg::lvt_cmci, 0x7);
  EXPECT_TRUE(apic().fire_lvt(0));
  EXPECT_TRUE(apic().fire_lvt(1));
  EXPECT_EQ(sink.log, (std::vector<std::string>{"extint 0", "nmi 0"}));
  EXPECT_TRUE(apic().fire_lvt(3)) << "the error entry has no mode: always fixed";
  EXPECT_TRUE(apic().fire_lvt(5));
  EXPECT_FALSE(apic().fire_lvt(6)) << "illegal vector";
  EXPECT_EQ(errors(), 0x40u);
  EXPECT_FALSE(apic().fire_lvt(7));
  EXPECT_EQ(apic().pending_vector(), 0x32);
}

TEST_F(VlapicTest, Lint0AsALevelKeepsRemoteIrrUntilItsEoi) {
  constexpr u32 level = 1u << 15, remote_irr = 1u << 14;
  enable(0);
  write(LapicReg::lvt_lint0, level | 0x60);
  EXPECT_TRUE(apic().fire_lvt(0));
  EXPECT_EQ(read(LapicReg::lvt_lint0), level | remote_irr | 0x60);
  EXPECT_FALSE(apic().fire_lvt(0)) << "one at a time";
  write(LapicReg::lvt_lint0, level | 0x60);  // read-only for software
  EXPECT_EQ(read(LapicReg::lvt_lint0), level | remote_irr | 0x60);
  EXPECT_EQ(take(), 0x60);
  EXPECT_EQ(take(), -1);
  write(LapicReg::eoi, 0);
  EXPECT_EQ(read(LapicReg::lvt_lint0), level | 0x60);
  EXPECT_TRUE(apic().fire_lvt(0));
  EXPECT_EQ(take(), 0x60);
  write(LapicReg::lvt_lint0, 0x60);  // an edge has no remote IRR
  EXPECT_EQ(read(LapicReg::lvt_lint0), 0x60u);
}

TEST_F(VlapicTest, Lint1IsAnEdgeWhateverItsTriggerBit) {
  enable(0);
  write(LapicReg::lvt_lint1, 1u << 15 | 0x61);
  EXPECT_TRUE(apic().fire_lvt(1));
  EXPECT_TRUE(apic().fire_lvt(1));
  EXPECT_EQ(read(LapicReg::lvt_lint1), 1u << 15 | 0x61);
}

TEST_F(VlapicTest, RemoteReadIsNotOfferedAndSaysSo) {
  enable_all();
  write(LapicReg::icr_high, 1u << 24);
  write(LapicReg::icr_low, 0x300 | 0x02);
  EXPECT_EQ(read(LapicReg::icr_low) >> 16 & 3, 0u) << "remote read status: invalid";
  EXPECT_EQ(read(LapicReg::rrr), 0u);
  EXPECT_EQ(errors(), 0u);
}

TEST_F(VlapicTest, PowerUpInX2apicModeComesFromTheConfiguration) {
  LapicConfig c = config();
  c.start_in_x2apic = true;
  LapicBus other(sink, c);
  Vlapic lapic(5, other);
  EXPECT_EQ(lapic.mode(), Vlapic::Mode::x2apic);
  EXPECT_EQ(lapic.apic_base(), 0xfee0'0c00u);
  u64 ldr = 0;
  ASSERT_TRUE(lapic.msr_read(msr(LapicReg::ldr), ldr, 0));
  EXPECT_EQ(ldr, 0x20u);
  ASSERT_TRUE(lapic.apic_base_write(0xfee0'0000));
  ASSERT_TRUE(lapic.apic_base_write(0xfee0'0800));
  lapic.reset();
  EXPECT_EQ(lapic.mode(), Vlapic::Mode::x2apic);
}

TEST_F(VlapicTest, PerformanceInterruptMasksItself) {
  enable(0);
  write(LapicReg::lvt_perf, 0x400);
  EXPECT_TRUE(apic().fire_lvt(4));
  EXPECT_EQ(read(LapicReg::lvt_perf), 0x10400u);
  EXPECT_FALSE(apic().fire_lvt(4));
}

TEST_F(VlapicTest, LocalPinsAreIntrAndNmiWhileTheApicIsOff) {
  EXPECT_TRUE(apic(1).local_irq(0));
  EXPECT_TRUE(apic(1).local_irq(1));
  EXPECT_TRUE(apic(1).local_irq(5));
  EXPECT_FALSE(apic(1).local_irq(7));
  EXPECT_EQ(sink.log, (std::vector<std::string>{"extint 1", "nmi 1"}));
}

TEST_F(VlapicTest, ExtIntIsLetInByLint0ByAMessageOrWithTheApicOff) {
  EXPECT_FALSE(apic().accepts_extint());
  apic().enter_virtual_wire();
  EXPECT_TRUE(apic().accepts_extint());
  write(LapicReg::lvt_lint0, 0x10700);
  EXPECT_FALSE(apic().accepts_extint());
  apic().post_extint();
  EXPECT_TRUE(apic().accepts_extint());
  apic().extint_accepted();
  EXPECT_FALSE(apic().accepts_extint());
  EXPECT_TRUE(apic().apic_base_write(0xfee0'0100));
  EXPECT_TRUE(apic().accepts_extint());
}

TEST_F(VlapicTest, InitKeepsApicBaseAndPowerUpDoesNot) {
  enter_x2apic(2);
  ASSERT_TRUE(apic(2).msr_write(msr(LapicReg::svr), 0x1ff, 0));
  ASSERT_TRUE(apic(2).msr_write(msr(LapicReg::tpr), 0x20, 0));
  apic(2).set_irr(0x30, false);
  apic(2).reset(Vlapic::Reset::init);
  EXPECT_EQ(apic(2).mode(), Vlapic::Mode::x2apic);
  EXPECT_FALSE(apic(2).enabled());
  EXPECT_EQ(apic(2).cr8(), 0u);
  EXPECT_EQ(apic(2).pending_vector(), -1);
  u64 value = 0;
  ASSERT_TRUE(apic(2).msr_read(msr(LapicReg::ldr), value, 0));
  EXPECT_EQ(value, 4u) << "the logical id survives";
  apic(2).reset();
  EXPECT_EQ(apic(2).mode(), Vlapic::Mode::xapic);
}

TEST_F(VlapicTest, ModeTransitionsAreThoseOfTheManual) {
  const u64 base = 0xfee0'0100;
  EXPECT_FALSE(apic().apic_base_write(base | 0x400)) << "x2APIC without enable";
  EXPECT_TRUE(apic().apic_base_write(base)) << "xAPIC to disabled";
  EXPECT_FALSE(apic().apic_base_write(base | 0xc00)) << "disabled to x2APIC";
  EXPECT_TRUE(apic().apic_base_write(base | 0x800)) << "disabled to xAPIC";
  EXPECT_TRUE(apic().apic_base_write(base | 0xc00)) << "xAPIC to x2APIC";
  EXPECT_FALSE(apic().apic_base_write(base | 0x800)) << "x2APIC to xAPIC";
  EXPECT_TRUE(apic().apic_base_write(base | 0xc00)) << "no change";
  EXPECT_TRUE(apic().apic_base_write(base)) << "x2APIC to disabled";
  EXPECT_EQ(apic().mode(), Vlapic::Mode::disabled);
}

TEST_F(VlapicTest, ReservedBitsOfApicBaseFault) {
  for (const u64 bad : {u64{1}, u64{0x200}, u64{0x80}, bit(46), bit(63)})
    EXPECT_FALSE(apic().apic_base_write(apic().apic_base() | bad)) << bad;
  EXPECT_EQ(apic().apic_base(), 0xfee0'0900u);
}

TEST_F(VlapicTest, ThePageMovesAndTheBspFlagStays) {
  EXPECT_TRUE(apic().apic_base_write(0x1234'5000 | 0x800));
  EXPECT_EQ(apic().mmio_base(), Gpa(0x1234'5000));
  EXPECT_EQ(apic().apic_base() & 0x100, 0x100u);
}

TEST_F(VlapicTest, DisablingLosesTheState) {
  enable(0);
  write(LapicReg::lvt_lint0, 0x700);
  apic().set_irr(0x50, true);
  EXPECT_TRUE(apic().apic_base_write(0xfee0'0100));
  EXPECT_EQ(apic().pending_vector(), -1);
  EXPECT_EQ(read(LapicReg::id), ~u32{0});
  EXPECT_TRUE(apic().apic_base_write(0xfee0'0900));
  EXPECT_EQ(read(LapicReg::lvt_lint0), 0x10000u);
  EXPECT_EQ(read(LapicReg::svr), 0xffu);
}

TEST_F(VlapicTest, EnteringX2ApicKeepsTheStateAndDerivesTheLogicalId) {
  enable(3);
  write(LapicReg::ldr, 0xff00'0000, 3);
  apic(3).set_irr(0x55, false);
  enter_x2apic(3);
  u64 value = 0;
  ASSERT_TRUE(apic(3).msr_read(0x80d, value, 0));
  EXPECT_EQ(value, 8u);
  ASSERT_TRUE(apic(3).msr_read(0x802, value, 0));
  EXPECT_EQ(value, 3u);
  EXPECT_EQ(apic(3).pending_vector(), 0x55);
  EXPECT_EQ(apic(3).mmio_read(0x20, 0), ~u32{0});
}

TEST_F(VlapicTest, X2ApicMsrsFaultOutsideX2ApicMode) {
  u64 value = 0;
  EXPECT_FALSE(apic().msr_read(0x802, value, 0));
  EXPECT_FALSE(apic().msr_write(0x808, 0, 0));
}

TEST_F(VlapicTest, X2ApicReadsFaultOnReservedAndWriteOnlyMsrs) {
  enter_x2apic(0);
  const std::vector<u32> readable{0x802, 0x803, 0x808, 0x80a, 0x80d, 0x80f, 0x810, 0x817, 0x81f,
                                  0x827, 0x828, 0x82f, 0x830, 0x832, 0x833, 0x834, 0x835, 0x836,
                                  0x837, 0x838, 0x839, 0x83e};
  for (const u32 m : readable) {
    u64 value = 0;
    EXPECT_TRUE(apic().msr_read(m, value, 0)) << std::hex << m;
  }
  for (const u32 m : {0x800u, 0x801u, 0x804u, 0x809u, 0x80bu, 0x80cu, 0x80eu, 0x829u, 0x831u,
                      0x83au, 0x83fu, 0x840u, 0x8ffu, 0x7ffu, 0x900u}) {
    u64 value = 0;
    EXPECT_FALSE(apic().msr_read(m, value, 0)) << std::hex << m;
  }
}

TEST_F(VlapicTest, X2ApicWritesFaultOnReadOnlyMsrsAndReservedBits) {
  enter_x2apic(0);
  for (const u32 m : {0x802u, 0x803u, 0x80au, 0x80du, 0x80eu, 0x810u, 0x818u, 0x820u, 0x831u,
                      0x839u, 0x840u, 0x8ffu})
    EXPECT_FALSE(apic().msr_write(m, 0, 0)) << std::hex << m;
  const std::pair<u32, u64> bad[] = {
      {0x808, 0x100},        {0x80b, 1},          {0x80f, 0x400},    {0x80f, 0x2000},
      {0x828, 1},            {0x82f, 0x20000},    {0x830, 0x2000},   {0x830, 0x100000},
      {0x832, 0x100},        {0x835, 0x800},      {0x837, 0x100},    {0x838, bit(32)},
      {0x83e, 4},            {0x83f, 0x100},      {0x808, bit(40)}};
  for (const auto& [m, value] : bad) EXPECT_FALSE(apic().msr_write(m, value, 0)) << std::hex << m;
  const std::pair<u32, u64> good[] = {{0x808, 0x20}, {0x80b, 0},       {0x80f, 0x11ff}, {0x828, 0},
                                      {0x832, 0x400ef}, {0x835, 0x1a700}, {0x838, 5}, {0x83e, 0xb}};
  for (const auto& [m, value] : good) EXPECT_TRUE(apic().msr_write(m, value, 0)) << std::hex << m;
}

}  // namespace
}  // namespace bhyve::intc
