#include "intc_fakes.hpp"

namespace bhyve::intc {
namespace {

/// ICR, its modes, shorthands and destinations.
class VlapicIpiTest : public LapicFixture {
 protected:
  VlapicIpiTest() { enable_all(); }
  void ipi(u32 low, u32 destination = 0, unsigned from = 0) {
    write(LapicReg::icr_high, destination << 24, from);
    write(LapicReg::icr_low, low, from);
  }
  void use_flat() {
    for (unsigned n = 0; n < count; ++n) write(LapicReg::ldr, 1u << (24 + n), n);
  }
};

TEST_F(VlapicIpiTest, PhysicalDestinationIsOneApic) {
  ipi(0x4040, 2);
  EXPECT_EQ(receivers(), 4u);
  EXPECT_EQ(read(LapicReg::icr_low), 0x4040u);
  ipi(0x4040, 77);
  EXPECT_EQ(receivers(), 4u);
}

TEST_F(VlapicIpiTest, DeliveryStatusReadsIdle) {
  ipi(0x5040, 2);
  EXPECT_EQ(read(LapicReg::icr_low), 0x4040u);
}

TEST_F(VlapicIpiTest, PhysicalBroadcastIncludesTheSender) {
  ipi(0x4040, 0xff);
  EXPECT_EQ(receivers(), 0xfu);
}

TEST_F(VlapicIpiTest, ShorthandsNameSelfAllAndOthers) {
  ipi(0x4'4040, 2, 1);
  EXPECT_EQ(receivers(), 2u);
  EXPECT_EQ(take(1), 0x40);
  ipi(0xc'4050, 0, 1);
  EXPECT_EQ(receivers(), 0xdu);
  ipi(0x8'4060, 0, 1);
  EXPECT_EQ(receivers(), 0xfu);
}

TEST_F(VlapicIpiTest, FlatLogicalMatchesAnyCommonBit) {
  use_flat();
  ipi(0x4840, 0b0101);
  EXPECT_EQ(receivers(), 0b0101u);
}

TEST_F(VlapicIpiTest, ClusterMatchesClusterAndMember) {
  for (unsigned n = 0; n < count; ++n) {
    write(LapicReg::dfr, 0x0fff'ffff, n);
    write(LapicReg::ldr, ((n / 2) << 28) | (1u << (24 + n % 2)), n);
  }
  ipi(0x4840, 0x12);
  EXPECT_EQ(receivers(), 0b1000u);
  ipi(0x4840, 0x03);
  EXPECT_EQ(receivers(), 0b1011u);
  ipi(0x4850, 0xff);
  EXPECT_EQ(receivers(), 0b1111u);
}

TEST_F(VlapicIpiTest, UnknownDestinationFormatMatchesNothingButBroadcast) {
  use_flat();
  write(LapicReg::dfr, 0x7fff'ffff, 1);
  ipi(0x4840, 0b0010);
  EXPECT_EQ(receivers(), 0u);
}

TEST_F(VlapicIpiTest, LowestPriorityPicksTheLowestTprAmongTheEnabled) {
  use_flat();
  write(LapicReg::tpr, 0x30, 0);
  write(LapicReg::tpr, 0x20, 1);
  write(LapicReg::tpr, 0x10, 2);
  write(LapicReg::svr, 0xff, 3);
  ipi(0x4900 | 0x90, 0xf);
  EXPECT_EQ(receivers(), 0b0100u);
}

TEST_F(VlapicIpiTest, LowestPriorityGoesRoundAmongEquals) {
  use_flat();
  for (unsigned n = 0; n < count; ++n) ipi(0x4900 | 0x90, 0xf);
  EXPECT_EQ(receivers(), 0xfu);
}

TEST_F(VlapicIpiTest, IllegalVectorIsASendErrorAndGoesNowhere) {
  ipi(0x400f, 1);
  EXPECT_EQ(receivers(), 0u);
  EXPECT_EQ(errors(0), 0x20u);
  EXPECT_EQ(errors(1), 0u);
}

TEST_F(VlapicIpiTest, InitSipiAndNmiReachTheSink) {
  ipi(0xc500, 1);
  ipi(0x4699, 1);
  ipi(0xc'4400, 0);
  EXPECT_EQ(sink.log, (std::vector<std::string>{"init 1", "sipi 1 99", "nmi 1", "nmi 2", "nmi 3"}));
}

TEST_F(VlapicIpiTest, InitReachesASoftwareDisabledApic) {
  write(LapicReg::svr, 0xff, 1);
  ipi(0x4500, 1);
  EXPECT_EQ(sink.log, std::vector<std::string>{"init 1"});
}

TEST_F(VlapicIpiTest, NothingReachesAHardwareDisabledApic) {
  ASSERT_TRUE(apic(1).apic_base_write(0xfee0'0000));
  ipi(0x4500, 1);
  ipi(0x4400, 0xff);
  EXPECT_EQ(sink.log, (std::vector<std::string>{"nmi 0", "nmi 2", "nmi 3"}));
}

TEST_F(VlapicIpiTest, InitLevelDeassertIsIgnored) {
  ipi(0x8500, 1);
  EXPECT_TRUE(sink.log.empty());
}

TEST_F(VlapicIpiTest, SmiReservedModesAndBadCombinationsAreIgnored) {
  for (const u32 low : {0x4200u, 0x4300u, 0x4700u, 0x4'4500u, 0x8'4500u, 0x4'4400u, 0x8'4699u})
    ipi(low, 1);
  EXPECT_TRUE(sink.log.empty());
  EXPECT_EQ(receivers(), 0u);
  EXPECT_EQ(errors(), 0u);
}

TEST_F(VlapicIpiTest, FixedIpiIsEdgeWhateverTheTriggerBit) {
  ipi(0xc040, 1);
  EXPECT_EQ(take(1), 0x40);
  write(LapicReg::eoi, 0, 1);
  EXPECT_TRUE(eois.vectors.empty());
}

class VlapicX2IpiTest : public LapicFixture {
 protected:
  VlapicX2IpiTest() {
    enable_all();
    for (unsigned n = 0; n < count; ++n) enter_x2apic(n);
  }
  bool ipi(u32 low, u32 destination, unsigned from = 0) {
    return apic(from).msr_write(0x830, u64{destination} << 32 | low, 0);
  }
};

TEST_F(VlapicX2IpiTest, IcrIsOneRegisterOf64Bits) {
  EXPECT_TRUE(ipi(0x4040, 3));
  EXPECT_EQ(receivers(), 8u);
  u64 value = 0;
  EXPECT_TRUE(apic().msr_read(0x830, value, 0));
  EXPECT_EQ(value, 0x3'0000'4040u);
}

TEST_F(VlapicX2IpiTest, BroadcastIsAllOnesAndFFhIsNot) {
  EXPECT_TRUE(ipi(0x4040, 0xff));
  EXPECT_EQ(receivers(), 0u);
  EXPECT_TRUE(ipi(0x4040, ~u32{0}));
  EXPECT_EQ(receivers(), 0xfu);
}

TEST_F(VlapicX2IpiTest, LogicalIsClusterAndMembers) {
  EXPECT_TRUE(ipi(0x4840, 0x0000'000a));
  EXPECT_EQ(receivers(), 0b1010u);
  EXPECT_TRUE(ipi(0x4850, 0x0001'000f));
  EXPECT_EQ(receivers(), 0b1010u);
  EXPECT_TRUE(ipi(0x4850, ~u32{0}));
  EXPECT_EQ(receivers(), 0b1111u);
}

TEST_F(VlapicX2IpiTest, InitReachesAnApicStillInXapicMode) {
  apic(2).reset();
  EXPECT_TRUE(ipi(0x4500, 2));
  EXPECT_EQ(sink.log, std::vector<std::string>{"init 2"});
}

TEST_F(VlapicX2IpiTest, SelfIpiIsAnEdgeToTheSender) {
  EXPECT_TRUE(apic(1).msr_write(0x83f, 0x77, 0));
  EXPECT_EQ(receivers(), 2u);
  EXPECT_EQ(take(1), 0x77);
  EXPECT_TRUE(apic(1).msr_write(0x83f, 5, 0));
  EXPECT_TRUE(apic(1).msr_write(0x828, 0, 0));
  u64 value = 0;
  EXPECT_TRUE(apic(1).msr_read(0x828, value, 0));
  EXPECT_EQ(value, 0x40u);
}

}  // namespace
}  // namespace bhyve::intc
