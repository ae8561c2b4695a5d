#include "intc/vatpic.hpp"

#include <gtest/gtest.h>

namespace bhyve::intc {
namespace {

using Chip = Vatpic::Chip;

class VatpicTest : public ::testing::Test {
 protected:
  VatpicTest() {
    pic.reset();
    init(0x11, 0x01);
  }
  /// ICW1..4 with the PC's bases 20h and 28h.
  void init(u8 icw1, u8 icw4) {
    pic.write(Chip::master, false, icw1);
    pic.write(Chip::master, true, 0x20);
    pic.write(Chip::master, true, 0x04);
    pic.write(Chip::master, true, icw4);
    pic.write(Chip::slave, false, icw1);
    pic.write(Chip::slave, true, 0x28);
    pic.write(Chip::slave, true, 0x02);
    pic.write(Chip::slave, true, icw4 & 0x0f);
  }
  void pulse(unsigned n) {
    pic.set_input(n, true);
    pic.set_input(n, false);
  }
  void eoi(Chip chip) { pic.write(chip, false, 0x20); }
  u8 isr(Chip chip) {
    pic.write(chip, false, 0x0b);
    return pic.read(chip, false);
  }
  u8 irr(Chip chip) {
    pic.write(chip, false, 0x0a);
    return pic.read(chip, false);
  }

  Vatpic pic;
};

TEST_F(VatpicTest, NothingIsRequestedBeforeInitialisation) {
  Vatpic fresh;
  fresh.reset();
  fresh.set_input(0, true);
  EXPECT_FALSE(fresh.output());
}

TEST_F(VatpicTest, AnEdgeIsLatchedAndAcknowledged) {
  pulse(4);
  ASSERT_TRUE(pic.output());
  EXPECT_EQ(irr(Chip::master), 0x10);
  EXPECT_EQ(pic.acknowledge(), 0x24);
  EXPECT_FALSE(pic.output());
  EXPECT_EQ(isr(Chip::master), 0x10);
  EXPECT_EQ(irr(Chip::master), 0x00);
  eoi(Chip::master);
  EXPECT_EQ(isr(Chip::master), 0x00);
}

TEST_F(VatpicTest, AHeldEdgeLineInterruptsOnce) {
  pic.set_input(4, true);
  EXPECT_EQ(pic.acknowledge(), 0x24);
  eoi(Chip::master);
  pic.set_input(4, true);
  EXPECT_FALSE(pic.output());
}

TEST_F(VatpicTest, TheSlaveGoesThroughInputTwo) {
  pulse(12);
  ASSERT_TRUE(pic.output());
  EXPECT_EQ(pic.acknowledge(), 0x2c);
  EXPECT_EQ(isr(Chip::master), 0x04);
  EXPECT_EQ(isr(Chip::slave), 0x10);
  eoi(Chip::slave);
  eoi(Chip::master);
  EXPECT_FALSE(pic.output());
}

TEST_F(VatpicTest, TwoSlaveRequestsAreBothDelivered) {
  pulse(12);
  pulse(8);
  EXPECT_EQ(pic.acknowledge(), 0x28);
  eoi(Chip::slave);
  eoi(Chip::master);
  ASSERT_TRUE(pic.output());
  EXPECT_EQ(pic.acknowledge(), 0x2c);
}

TEST_F(VatpicTest, FullyNestedPriorityBlocksEqualAndLower) {
  pulse(3);
  EXPECT_EQ(pic.acknowledge(), 0x23);
  pulse(3);
  pulse(5);
  EXPECT_FALSE(pic.output());
  pulse(1);
  ASSERT_TRUE(pic.output());
  EXPECT_EQ(pic.acknowledge(), 0x21);
  eoi(Chip::master);
  EXPECT_EQ(isr(Chip::master), 0x08) << "non-specific EOI ends the highest";
}

TEST_F(VatpicTest, MaskHoldsARequestBackWithoutLosingIt) {
  pic.write(Chip::master, true, 0x10);
  EXPECT_EQ(pic.read(Chip::master, true), 0x10);
  pulse(4);
  EXPECT_FALSE(pic.output());
  pic.write(Chip::master, true, 0x00);
  EXPECT_TRUE(pic.output());
}

TEST_F(VatpicTest, SpecificEoiEndsThatLevel) {
  pulse(5);
  pic.acknowledge();
  pulse(1);
  pic.acknowledge();
  pic.write(Chip::master, false, 0x65);
  EXPECT_EQ(isr(Chip::master), 0x02);
}

TEST_F(VatpicTest, ElcrMakesALevelInputFollowItsLine) {
  pic.set_elcr(Chip::master, 0xff);
  pic.set_elcr(Chip::slave, 0xff);
  EXPECT_EQ(pic.elcr(Chip::master), 0xf8) << "IRQ 0..2 are edge for ever";
  EXPECT_EQ(pic.elcr(Chip::slave), 0xde) << "IRQ 8 and 13 too";
  pic.set_input(5, true);
  EXPECT_EQ(pic.acknowledge(), 0x25);
  eoi(Chip::master);
  EXPECT_TRUE(pic.output()) << "still asserted";
  pic.set_input(5, false);
  EXPECT_FALSE(pic.output());
}

TEST_F(VatpicTest, AWithdrawnRequestIsSpuriousIrq7) {
  EXPECT_EQ(pic.acknowledge(), 0x27);
  EXPECT_EQ(isr(Chip::master), 0x00) << "nothing goes into service";
}

TEST(I8259Test, ASlaveWithNothingRequestedAnswersWithInputSeven) {
  I8259 chip(0xde, 0);
  chip.reset();
  for (const u8 v : {0x28, 0x02, 0x01}) {
    if (v == 0x28) chip.write(false, 0x11);
    chip.write(true, v);
  }
  EXPECT_EQ(chip.vector(chip.acknowledge()), 0x2f);
  chip.write(false, 0x0b);
  EXPECT_EQ(chip.read(false), 0);
}

TEST_F(VatpicTest, AutomaticEoiLeavesNothingInService) {
  init(0x11, 0x03);
  pulse(4);
  EXPECT_EQ(pic.acknowledge(), 0x24);
  EXPECT_EQ(isr(Chip::master), 0x00);
  pulse(12);
  pulse(8);
  EXPECT_EQ(pic.acknowledge(), 0x28);
  ASSERT_TRUE(pic.output()) << "the slave's next request is not lost";
  EXPECT_EQ(pic.acknowledge(), 0x2c);
}

TEST_F(VatpicTest, RotationInAutomaticEoiModeIsFair) {
  init(0x11, 0x03);
  pic.write(Chip::master, false, 0x80);
  pulse(1);
  EXPECT_EQ(pic.acknowledge(), 0x21);
  pulse(1);
  pulse(6);
  EXPECT_EQ(pic.acknowledge(), 0x26);
  pic.write(Chip::master, false, 0x00);
  EXPECT_EQ(pic.acknowledge(), 0x21);
}

TEST_F(VatpicTest, RotateOnEoiMakesTheServedLevelTheLowest) {
  pulse(3);
  pic.acknowledge();
  pic.write(Chip::master, false, 0xa0);
  pulse(3);
  pulse(4);
  EXPECT_EQ(pic.acknowledge(), 0x24);
  pic.write(Chip::master, false, 0xe4);
  pulse(4);
  pulse(5);
  EXPECT_EQ(pic.acknowledge(), 0x25);
}

TEST_F(VatpicTest, SetPriorityNamesTheLowestLevel) {
  pic.write(Chip::master, false, 0xc4);
  pulse(0);
  pulse(5);
  EXPECT_EQ(pic.acknowledge(), 0x25);
}

TEST_F(VatpicTest, SpecialMaskModeOpensLowerLevels) {
  pulse(3);
  pic.acknowledge();
  pulse(6);
  EXPECT_FALSE(pic.output());
  pic.write(Chip::master, true, 0x08);
  EXPECT_FALSE(pic.output()) << "a mask alone does not unblock";
  pic.write(Chip::master, false, 0x68);
  ASSERT_TRUE(pic.output());
  EXPECT_EQ(pic.acknowledge(), 0x26);
  eoi(Chip::master);
  EXPECT_EQ(isr(Chip::master), 0x08) << "a masked level is not ended by a non-specific EOI";
  pic.write(Chip::master, false, 0x48);
  pulse(6);
  EXPECT_FALSE(pic.output());
}

TEST_F(VatpicTest, SpecialFullyNestedModeLetsTheSlaveInterruptAgain) {
  pulse(12);
  pic.acknowledge();
  pulse(8);
  EXPECT_FALSE(pic.output()) << "plain nesting blocks the slave";
  init(0x11, 0x11);
  pulse(12);
  pic.acknowledge();
  pulse(8);
  ASSERT_TRUE(pic.output());
  EXPECT_EQ(pic.acknowledge(), 0x28);
}

TEST_F(VatpicTest, PollAcknowledgesByReading) {
  pulse(5);
  pic.write(Chip::master, false, 0x0c);
  EXPECT_EQ(pic.read(Chip::master, false), 0x85);
  EXPECT_EQ(isr(Chip::master), 0x20);
  pic.write(Chip::master, false, 0x0c);
  EXPECT_EQ(pic.read(Chip::master, false), 0x00) << "nothing more";
}

TEST_F(VatpicTest, Icw1ClearsMaskServiceAndEdges) {
  pulse(4);
  pulse(3);
  pic.acknowledge();
  pic.write(Chip::master, true, 0xff);
  pic.write(Chip::master, false, 0x11);
  EXPECT_FALSE(pic.output());
  pic.write(Chip::master, true, 0x40);
  pic.write(Chip::master, true, 0x04);
  pic.write(Chip::master, true, 0x01);
  EXPECT_EQ(pic.read(Chip::master, true), 0x00);
  EXPECT_EQ(isr(Chip::master), 0x00);
  EXPECT_FALSE(pic.output());
  pulse(1);
  EXPECT_EQ(pic.acknowledge(), 0x41);
}

TEST_F(VatpicTest, Icw1WithoutIcw4TakesNoFourthWord) {
  pic.write(Chip::master, false, 0x10);
  pic.write(Chip::master, true, 0x20);
  pic.write(Chip::master, true, 0x04);
  pic.write(Chip::master, true, 0xa5);
  EXPECT_EQ(pic.read(Chip::master, true), 0xa5);
}

TEST_F(VatpicTest, SingleModeTakesNoIcw3) {
  pic.write(Chip::master, false, 0x13);
  pic.write(Chip::master, true, 0x20);
  pic.write(Chip::master, true, 0x01);
  pic.write(Chip::master, true, 0xa5);
  EXPECT_EQ(pic.read(Chip::master, true), 0xa5);
}

TEST_F(VatpicTest, TheCascadeInputIsNoDevices) {
  pulse(2);
  EXPECT_FALSE(pic.output());
}

}  // namespace
}  // namespace bhyve::intc
