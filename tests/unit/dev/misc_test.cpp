#include <gtest/gtest.h>

#include "dev/misc/acpi_pm.hpp"
#include "dev/misc/port92.hpp"
#include "dev/misc/post_port.hpp"
#include "dev/misc/reset_control.hpp"
#include "fakes.hpp"

namespace bhyve::dev {
namespace {

TEST(ResetControl, RisingBitTwoResetsHardOrSoft) {
  std::vector<bool> resets;
  ResetControl c([&](bool hard) { resets.push_back(hard); });
  c.pio_write(0, 1, 0x02);
  EXPECT_TRUE(resets.empty());
  c.pio_write(0, 1, 0x06);
  c.pio_write(0, 1, 0x06);  // no edge
  c.pio_write(0, 1, 0x00);
  c.pio_write(0, 1, 0x04);
  EXPECT_EQ(resets, std::vector<bool>({true, false}));
}

TEST(ResetControl, StateSurvivesSaveAndLoad) {
  ResetControl c({});
  c.pio_write(0, 1, 0xff);
  EXPECT_EQ(c.pio_read(0, 1), 0x0eu);
  StateWriter out;
  c.save(out);
  c.reset();
  EXPECT_EQ(c.pio_read(0, 1), 0u);
  const auto in = StateReader::parse(out.bytes());
  ASSERT_TRUE(in && c.load(*in));
  EXPECT_EQ(c.pio_read(0, 1), 0x0eu);
}

TEST(Port92, FastResetOnRisingEdgeAndGateReadsBack) {
  int resets = 0;
  Port92 p([&] { ++resets; });
  EXPECT_EQ(p.pio_read(0, 1), 2u);
  p.pio_write(0, 1, 0);
  EXPECT_EQ(p.pio_read(0, 1), 0u);
  p.pio_write(0, 1, 3);
  p.pio_write(0, 1, 3);
  EXPECT_EQ(resets, 1);
  p.reset();
  EXPECT_EQ(p.pio_read(0, 1), 2u);
}

TEST(PostPort, ReadsOnesAndIgnoresWrites) {
  PostPort p;
  p.pio_write(0, 1, 0x12);
  EXPECT_EQ(p.pio_read(0, 1), 0xffu);
}

struct AcpiPmTest : testing::Test {
  test::FakePin sci;
  int offs = 0;
  AcpiPm pm{sci, [this] { ++offs; }};
  bus::Pio& event = pm.event_block();
  bus::Pio& control = pm.control_block();
  bus::Pio& gpe = pm.gpe0_block();
  void acpi_on() { pm.smi_command().pio_write(0, 1, 0xa0); }
};

TEST_F(AcpiPmTest, SciEnableChangesOnlyThroughSmiCommand) {
  control.pio_write(0, 2, 1);
  EXPECT_EQ(control.pio_read(0, 2), 0u);
  acpi_on();
  control.pio_write(0, 2, 0);
  EXPECT_EQ(control.pio_read(0, 2), 1u);
  pm.smi_command().pio_write(0, 1, 0x55);
  EXPECT_EQ(control.pio_read(0, 2), 1u);
  pm.smi_command().pio_write(0, 1, 0xa1);
  EXPECT_EQ(control.pio_read(0, 2), 0u);
}

TEST_F(AcpiPmTest, EnableKeepsOnlyTheEventsThereAre) {
  event.pio_write(2, 2, 0xffff);
  EXPECT_EQ(event.pio_read(2, 2), 0x0520u);
}

TEST_F(AcpiPmTest, PowerButtonRaisesSciUntilStatusIsCleared) {
  EXPECT_FALSE(pm.press_power_button());
  EXPECT_EQ(event.pio_read(0, 2), 0x0100u);
  event.pio_write(0, 2, 0x0100);
  acpi_on();
  event.pio_write(2, 2, 0x0100);
  EXPECT_FALSE(sci.level);
  EXPECT_TRUE(pm.press_power_button());
  EXPECT_TRUE(sci.level);
  event.pio_write(0, 2, 0);
  EXPECT_TRUE(sci.level);
  event.pio_write(0, 4, 0x0100'0100);
  EXPECT_FALSE(sci.level);
}

TEST_F(AcpiPmTest, SleepTypeFivePowersOffOthersDoNothing) {
  control.pio_write(0, 2, 5 << 10);
  EXPECT_EQ(offs, 0);
  control.pio_write(0, 2, 3 << 10 | 1 << 13);
  EXPECT_EQ(offs, 0);
  control.pio_write(0, 2, 5 << 10 | 1 << 13);
  EXPECT_EQ(offs, 1);
  EXPECT_EQ(control.pio_read(0, 2), 5u << 10);  // SLP_EN is write-only
  control.pio_write(1, 1, 0x34);
  EXPECT_EQ(offs, 2);
}

TEST_F(AcpiPmTest, GeneralPurposeEventsShareTheSci) {
  acpi_on();
  gpe.pio_write(2, 2, 1);
  pm.raise_gpe(1);
  EXPECT_FALSE(sci.level);
  pm.raise_gpe(0);
  EXPECT_TRUE(sci.level);
  EXPECT_EQ(gpe.pio_read(0, 2), 3u);
  gpe.pio_write(0, 1, 1);
  EXPECT_FALSE(sci.level);
}

TEST_F(AcpiPmTest, LoadBringsTheLineBack) {
  acpi_on();
  event.pio_write(2, 2, 0x0100);
  pm.press_power_button();
  StateWriter out;
  pm.save(out);
  pm.reset();
  EXPECT_FALSE(sci.level);
  const auto in = StateReader::parse(out.bytes());
  ASSERT_TRUE(in && pm.load(*in));
  EXPECT_TRUE(sci.level);
  EXPECT_EQ(control.pio_read(0, 2), 1u);
}

}  // namespace
}  // namespace bhyve::dev
