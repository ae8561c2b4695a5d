#include "intc_fakes.hpp"

namespace bhyve::intc {
namespace {

class LapicBusTest : public LapicFixture {
 protected:
  LapicBusTest() { enable_all(); }
  static constexpr u64 base = 0xfee0'0000;
};

TEST_F(LapicBusTest, PhysicalMsiReachesOneApicAsAnEdge) {
  bus.msi(base | 2 << 12, 0x41);
  EXPECT_EQ(receivers(), 4u);
  EXPECT_EQ(take(2), 0x41);
  write(LapicReg::eoi, 0, 2);
  EXPECT_TRUE(eois.vectors.empty());
}

TEST_F(LapicBusTest, AddressesThatAreNoMessagesAreDropped) {
  bus.msi(0xfed0'0000, 0x41);
  bus.msi(base | bit(32), 0x41);
  EXPECT_EQ(receivers(), 0u);
}

TEST_F(LapicBusTest, LevelMsiSetsTheTriggerModeAndDeassertDoesNothing) {
  bus.msi(base, 0x8041);
  EXPECT_EQ(receivers(), 0u);
  bus.msi(base, 0xc041);
  EXPECT_EQ(take(0), 0x41);
  write(LapicReg::eoi, 0);
  EXPECT_EQ(eois.vectors, std::vector<u8>{0x41});
}

TEST_F(LapicBusTest, LogicalMsiNeedsNoRedirectionHint) {
  for (unsigned n = 0; n < count; ++n) write(LapicReg::ldr, 1u << (24 + n), n);
  bus.msi(base | 0b0110 << 12 | 4, 0x41);
  EXPECT_EQ(receivers(), 0b0110u);
}

TEST_F(LapicBusTest, RedirectionHintChoosesOneOfTheGroup) {
  for (unsigned n = 0; n < count; ++n) write(LapicReg::ldr, 1u << (24 + n), n);
  write(LapicReg::tpr, 0x20, 1);
  bus.msi(base | 0b0110 << 12 | 0xc, 0x41);
  EXPECT_EQ(receivers(), 0b0100u);
}

TEST_F(LapicBusTest, RedirectionHintWithPhysicalModeIsThatOneApic) {
  bus.msi(base | 3 << 12 | 8, 0x41);
  EXPECT_EQ(receivers(), 8u);
}

TEST_F(LapicBusTest, MsiDeliveryModes) {
  bus.msi(base | 1 << 12, 0x400);
  bus.msi(base | 1 << 12, 0x500);
  bus.msi(base | 1 << 12, 0x700);
  bus.msi(base | 1 << 12, 0x200);
  bus.msi(base | 1 << 12, 0x300);
  bus.msi(base | 1 << 12, 0x6aa);
  EXPECT_EQ(sink.log, (std::vector<std::string>{"nmi 1", "init 1", "extint 1"}));
  EXPECT_TRUE(apic(1).accepts_extint());
}

TEST_F(LapicBusTest, IllegalVectorIsAReceiveError) {
  bus.msi(base | 1 << 12, 0x3);
  EXPECT_EQ(errors(1), 0x40u);
}

TEST_F(LapicBusTest, ExtendedDestinationReachesHighApics) {
  Vlapic high(300, bus);
  high.mmio_write(0xf0, 0x1ff, 0);
  ASSERT_TRUE(high.apic_base_write(high.apic_base() | 0x400));
  bus.msi(base | (300 & 0xff) << 12 | (300 >> 8) << 5, 0x41);
  EXPECT_EQ(high.pending_vector(), 0x41);
  EXPECT_EQ(receivers(), 0u);
}

TEST_F(LapicBusTest, FFhIsABroadcastUnlessAnX2Apic255Exists) {
  bus.msi(base | 0xff << 12, 0x41);
  EXPECT_EQ(receivers(), 0xfu);
  Vlapic last(255, bus);
  last.mmio_write(0xf0, 0x1ff, 0);
  ASSERT_TRUE(last.apic_base_write(last.apic_base() | 0x400));
  bus.msi(base | 0xff << 12, 0x91);
  EXPECT_EQ(last.pending_vector(), 0x91);
  EXPECT_EQ(apic(0).pending_vector(), 0x41);
}

TEST_F(LapicBusTest, DeliveryTellsWhetherSomebodyAccepted) {
  LapicMessage message;
  message.vector = 0x41;
  message.destination = 1;
  EXPECT_TRUE(bus.deliver(message));
  write(LapicReg::svr, 0xff, 1);
  EXPECT_FALSE(bus.deliver(message));
  message.destination = 9;
  EXPECT_FALSE(bus.deliver(message));
  message.destination = ~u32{0};
  message.wide = false;
  EXPECT_FALSE(bus.deliver(message));
}

TEST_F(LapicBusTest, LocalIrqGoesToOneOrAll) {
  for (unsigned n = 0; n < count; ++n) write(LapicReg::lvt_lint1, 0x400, n);
  EXPECT_TRUE(bus.local_irq(2, 1));
  EXPECT_TRUE(bus.local_irq_all(1));
  EXPECT_EQ(sink.log, (std::vector<std::string>{"nmi 2", "nmi 0", "nmi 1", "nmi 2", "nmi 3"}));
  EXPECT_FALSE(bus.local_irq(9, 1));
  EXPECT_FALSE(bus.local_irq(~u32{0}, 1));
  EXPECT_FALSE(bus.local_irq(0, 7));
  EXPECT_FALSE(bus.local_irq_all(7));
}

TEST_F(LapicBusTest, ADetachedApicIsNoTarget) {
  lapics[1].reset();
  bus.msi(base | 1 << 12, 0x41);
  bus.msi(base | 0xff << 12, 0x400);
  EXPECT_EQ(sink.log, (std::vector<std::string>{"nmi 0", "nmi 2", "nmi 3"}));
}

}  // namespace
}  // namespace bhyve::intc
