#include "intc/vatpic_pio.hpp"

#include "intc/isa_irq.hpp"
#include "intc_fakes.hpp"

namespace bhyve::intc {
namespace {

class VatpicPioTest : public LapicFixture {
 protected:
  VatpicPioTest() {
    const u8 words[2][4] = {{0x11, 0x20, 0x04, 0x01}, {0x11, 0x28, 0x02, 0x01}};
    for (unsigned i = 0; i < 4; ++i) {
      pic.master_ports().pio_write(i == 0 ? 0 : 1, 1, words[0][i]);
      pic.slave_ports().pio_write(i == 0 ? 0 : 1, 1, words[1][i]);
    }
  }
  unsigned extints() { return static_cast<unsigned>(sink.log.size()); }

  VatpicPio pic{sink};
};

TEST_F(VatpicPioTest, ARiseOfIntrReachesVcpu0) {
  pic.pin(4).pulse();
  EXPECT_TRUE(pic.intr());
  EXPECT_EQ(sink.log, std::vector<std::string>{"extint 0"});
  EXPECT_EQ(pic.acknowledge(), 0x24);
  EXPECT_FALSE(pic.intr());
  EXPECT_EQ(pic.acknowledge(), -1);
}

TEST_F(VatpicPioTest, WhatIsPendingAfterAnAcknowledgeIsANewRequest) {
  pic.pin(4).pulse();
  pic.pin(1).pulse();
  EXPECT_EQ(extints(), 1u);
  EXPECT_EQ(pic.acknowledge(), 0x21);
  EXPECT_EQ(extints(), 1u) << "blocked by the one in service";
  pic.master_ports().pio_write(0, 1, 0x20);
  EXPECT_EQ(extints(), 2u);
  EXPECT_EQ(pic.acknowledge(), 0x24);
}

TEST_F(VatpicPioTest, UnmaskingRaisesIntr) {
  pic.master_ports().pio_write(1, 1, 0xff);
  pic.pin(4).pulse();
  EXPECT_FALSE(pic.intr());
  pic.master_ports().pio_write(1, 1, 0xef);
  EXPECT_TRUE(pic.intr());
  EXPECT_EQ(extints(), 1u);
}

TEST_F(VatpicPioTest, APollThroughThePortTakesTheRequestAway) {
  pic.pin(4).pulse();
  pic.master_ports().pio_write(0, 1, 0x0c);
  EXPECT_EQ(pic.master_ports().pio_read(0, 1), 0x84u);
  EXPECT_FALSE(pic.intr());
}

TEST_F(VatpicPioTest, IntrReachesInput0OfTheIoApicAsExtInt) {
  enable(1);
  Vlapic& lapic = apic(1);
  VioapicMmio ioapic(bus);
  pic.connect_output(ioapic.connect(0));
  ioapic.mmio_write(0, 4, 0x11, 0);
  ioapic.mmio_write(0x10, 4, 1u << 24, 0);
  ioapic.mmio_write(0, 4, 0x10, 0);
  ioapic.mmio_write(0x10, 4, 0x700, 0);
  EXPECT_FALSE(lapic.accepts_extint());
  pic.pin(3).pulse();
  pic.pin(4).pulse();
  EXPECT_TRUE(lapic.accepts_extint());
  EXPECT_GE(pic.acknowledge(), 0);
  lapic.extint_accepted();
  EXPECT_FALSE(lapic.accepts_extint());
  pic.master_ports().pio_write(0, 1, 0x20);
  EXPECT_TRUE(lapic.accepts_extint()) << "the second request is a new edge";
}

TEST_F(VatpicPioTest, WordAccessesAreTwoPorts) {
  pic.elcr_ports().pio_write(0, 2, 0xffff);
  EXPECT_EQ(pic.elcr_ports().pio_read(0, 2), 0xdef8u);
  EXPECT_EQ(pic.slave_ports().pio_read(1, 4) >> 8, 0xff'ffffu);
}

TEST_F(VatpicPioTest, ALoweredLevelLineIsWithdrawn) {
  pic.elcr_ports().pio_write(0, 1, 0x20);
  pic.pin(5).assert_pin();
  EXPECT_TRUE(pic.intr());
  pic.pin(5).deassert_pin();
  EXPECT_FALSE(pic.intr());
  EXPECT_EQ(pic.acknowledge(), -1);
}

TEST_F(VatpicPioTest, SaveAndLoadKeepRequestsModesAndPins) {
  pic.elcr_ports().pio_write(0, 1, 0x20);
  pic.pin(5).assert_pin();
  pic.pin(12).pulse();
  pic.master_ports().pio_write(1, 1, 0x80);
  StateWriter out;
  pic.save(out);
  pic.pin(5).deassert_pin();
  pic.reset();
  EXPECT_FALSE(pic.intr());
  auto reader = StateReader::parse(out.bytes());
  ASSERT_TRUE(reader);
  sink.log.clear();
  ASSERT_TRUE(pic.load(*reader));
  EXPECT_EQ(extints(), 1u);
  StateWriter again;
  pic.save(again);
  EXPECT_EQ(again.bytes(), out.bytes());
  EXPECT_EQ(pic.acknowledge(), 0x2c);
  pic.slave_ports().pio_write(0, 1, 0x20);
  pic.master_ports().pio_write(0, 1, 0x20);
  EXPECT_EQ(pic.acknowledge(), 0x25);
  pic.pin(5).deassert_pin();
  pic.master_ports().pio_write(0, 1, 0x20);
  EXPECT_FALSE(pic.intr());
}

TEST_F(VatpicPioTest, LoadRejectsAnImpossiblePriority) {
  StateWriter out;
  pic.save(out);
  StateWriter bad;
  bad.section("vatpic", 1, [](StateWriter& w) { w.put_bytes(std::vector<u8>(36, 0xff)); });
  auto reader = StateReader::parse(bad.bytes());
  ASSERT_TRUE(reader);
  pic.pin(4).pulse();
  EXPECT_FALSE(pic.load(*reader));
  EXPECT_FALSE(pic.intr());
}

TEST_F(VatpicPioTest, AnIsaLineReachesBothControllersAndIrq0IsInput2) {
  enable(0);
  VioapicMmio ioapic(bus);
  const auto program = [&](unsigned pin, u32 low) {
    ioapic.mmio_write(0, 4, 0x10 + 2 * pin, 0);
    ioapic.mmio_write(0x10, 4, low, 0);
  };
  program(2, 0x50);
  program(4, 0x64);
  IsaIrq pit(pic, ioapic, 0), com1(pic, ioapic, 4), com3(pic, ioapic, 4);
  pit.pulse();
  EXPECT_EQ(pic.acknowledge(), 0x20);
  EXPECT_EQ(take(), 0x50);
  pic.master_ports().pio_write(0, 1, 0x20);
  com1.assert_pin();
  com3.assert_pin();
  EXPECT_EQ(pic.acknowledge(), 0x24);
  EXPECT_EQ(take(), 0x64);
}

}  // namespace
}  // namespace bhyve::intc
