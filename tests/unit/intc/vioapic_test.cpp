#include "intc/vioapic_mmio.hpp"

#include "intc_fakes.hpp"

namespace bhyve::intc {
namespace {

/// The chip alone: messages are recorded, and accepted or not as the test says.
class VioapicTest : public ::testing::Test {
 protected:
  void set(u8 index, u32 value) {
    chip.write(0x00, index);
    chip.write(0x10, value);
  }
  u32 get(u8 index) {
    chip.write(0x00, index);
    return chip.read(0x10);
  }
  void program(unsigned pin, u32 low, u32 high = 0) {
    set(static_cast<u8>(0x11 + 2 * pin), high);
    set(static_cast<u8>(0x10 + 2 * pin), low);
  }

  bool accept = true;
  std::vector<LapicMessage> sent;
  Vioapic chip{32, [this](const LapicMessage& m) {
                 sent.push_back(m);
                 return accept;
               }};
};

TEST_F(VioapicTest, ResetStateIsMaskedAndVersion20h) {
  EXPECT_EQ(get(1), 0x001f'0020u);
  EXPECT_EQ(get(0), 0u);
  for (unsigned pin = 0; pin < 32; ++pin) {
    EXPECT_EQ(get(static_cast<u8>(0x10 + 2 * pin)), 0x10000u);
    EXPECT_EQ(get(static_cast<u8>(0x11 + 2 * pin)), 0u);
  }
}

TEST_F(VioapicTest, IdIsWritableAndShownByTheArbitrationRegister) {
  set(0, 0xffff'ffff);
  EXPECT_EQ(get(0), 0xff00'0000u);
  EXPECT_EQ(get(2), 0xff00'0000u);
  set(1, 0);
  EXPECT_EQ(get(1), 0x001f'0020u);
}

TEST_F(VioapicTest, IndexesBeyondTheTableReadZeroAndIgnoreWrites) {
  set(0x50, 0);
  set(0xff, 0);
  set(0x05, 0);
  EXPECT_EQ(get(0x50), 0u);
  EXPECT_EQ(get(0xff), 0u);
  EXPECT_EQ(chip.read(0x20), 0u);
  EXPECT_TRUE(sent.empty());
}

TEST_F(VioapicTest, StatusAndRemoteIrrAreReadOnly) {
  program(4, 0xffff'ffff, 0xffff'ffff);
  EXPECT_EQ(get(0x18), 0x0001'afffu);
  EXPECT_EQ(get(0x19), 0xfffe'0000u);
}

TEST_F(VioapicTest, EdgeSendsOncePerRise) {
  program(4, 0x31, 0x0300'0000);
  chip.set_pin(4, true);
  chip.set_pin(4, true);
  chip.set_pin(4, false);
  chip.set_pin(4, true);
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].vector, 0x31);
  EXPECT_EQ(sent[0].destination, 3u);
  EXPECT_FALSE(sent[0].level);
  EXPECT_FALSE(sent[0].logical);
  EXPECT_EQ(get(0x18) & 0x4000, 0u);
}

TEST_F(VioapicTest, AnEdgeWhileMaskedIsLost) {
  program(4, 0x1'0031);
  chip.set_pin(4, true);
  program(4, 0x31);
  EXPECT_TRUE(sent.empty());
}

TEST_F(VioapicTest, ALevelWhileMaskedIsSentOnUnmask) {
  program(4, 0x1'8031);
  chip.set_pin(4, true);
  EXPECT_TRUE(sent.empty());
  program(4, 0x8031);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_TRUE(sent[0].level);
  EXPECT_EQ(get(0x18) & 0x4000, 0x4000u);
}

TEST_F(VioapicTest, LevelWaitsForEoiAndInterruptsAgainWhileAsserted) {
  program(4, 0x8031);
  chip.set_pin(4, true);
  chip.set_pin(4, false);
  chip.set_pin(4, true);
  EXPECT_EQ(sent.size(), 1u) << "remote IRR holds it back";
  chip.eoi(0x32);
  EXPECT_EQ(sent.size(), 1u);
  chip.eoi(0x31);
  EXPECT_EQ(sent.size(), 2u);
  chip.set_pin(4, false);
  chip.write(0x40, 0x31);
  EXPECT_EQ(sent.size(), 2u);
  EXPECT_EQ(get(0x18) & 0x4000, 0u);
}

TEST_F(VioapicTest, TurningToEdgeAndBackClearsRemoteIrr) {
  program(4, 0x8031);
  chip.set_pin(4, true);
  set(0x18, 0x1'0031);
  EXPECT_EQ(get(0x18), 0x1'0031u);
  set(0x18, 0x8031);
  EXPECT_EQ(sent.size(), 2u);
}

TEST_F(VioapicTest, AMessageNobodyAcceptedSetsNoRemoteIrrAndIsTriedAgain) {
  accept = false;
  program(4, 0x8031);
  chip.set_pin(4, true);
  EXPECT_EQ(get(0x18) & 0x4000, 0u);
  accept = true;
  set(0x18, 0x8031);
  EXPECT_EQ(get(0x18) & 0x4000, 0x4000u);
}

TEST_F(VioapicTest, NmiIsEdgeWhateverTheTriggerBit) {
  program(4, 0x8400);
  chip.set_pin(4, true);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].mode, DeliveryMode::nmi);
  EXPECT_FALSE(sent[0].level);
  EXPECT_EQ(get(0x18) & 0x4000, 0u);
}

TEST_F(VioapicTest, LogicalAndExtendedDestinations) {
  program(7, 0x0931, 0x2c02'0000);
  chip.set_pin(7, true);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_TRUE(sent[0].logical);
  EXPECT_EQ(sent[0].mode, DeliveryMode::lowest);
  EXPECT_EQ(sent[0].destination, 0x12cu);
}

/// The adapter with real local APICs.
class VioapicMmioTest : public LapicFixture {
 protected:
  VioapicMmioTest() { enable_all(); }
  void program(unsigned pin, u32 low, u32 high = 0) {
    ioapic.mmio_write(0, 4, 0x11 + 2 * pin, 0);
    ioapic.mmio_write(0x10, 4, high, 0);
    ioapic.mmio_write(0, 4, 0x10 + 2 * pin, 0);
    ioapic.mmio_write(0x10, 4, low, 0);
  }
  u32 entry(unsigned pin) {
    ioapic.mmio_write(0, 4, 0x10 + 2 * pin, 0);
    return static_cast<u32>(ioapic.mmio_read(0x10, 4, 0));
  }

  VioapicMmio ioapic{bus};
};

TEST_F(VioapicMmioTest, EoiOfTheLocalApicComesBack) {
  program(16, 0x8061, 0x0100'0000);
  ioapic.pin(16).assert_pin();
  EXPECT_EQ(take(1), 0x61);
  write(LapicReg::eoi, 0, 1);
  EXPECT_EQ(take(1), 0x61) << "still asserted";
  ioapic.pin(16).deassert_pin();
  write(LapicReg::eoi, 0, 1);
  EXPECT_EQ(take(1), -1);
}

TEST_F(VioapicMmioTest, WithSuppressionTheEoiRegisterEndsIt) {
  write(LapicReg::svr, 0x11ff, 1);
  program(16, 0x8061, 0x0100'0000);
  ioapic.pin(16).assert_pin();
  EXPECT_EQ(take(1), 0x61);
  write(LapicReg::eoi, 0, 1);
  EXPECT_EQ(take(1), -1);
  EXPECT_EQ(entry(16) & 0x4000, 0x4000u);
  ioapic.mmio_write(0x40, 4, 0x61, 1);
  EXPECT_EQ(take(1), 0x61);
}

TEST_F(VioapicMmioTest, ASharedLineIsHighUntilTheLastDeviceLowersIt) {
  IrqPin& a = ioapic.connect(17);
  IrqPin& b = ioapic.connect(17);
  program(17, 0x8062);
  a.assert_pin();
  a.assert_pin();
  b.assert_pin();
  EXPECT_EQ(take(), 0x62);
  a.deassert_pin();
  write(LapicReg::eoi, 0);
  EXPECT_EQ(take(), 0x62) << "b holds it";
  b.deassert_pin();
  b.deassert_pin();
  write(LapicReg::eoi, 0);
  EXPECT_EQ(take(), -1);
}

TEST_F(VioapicMmioTest, OtherSizesAndOffsetsAnswerZero) {
  EXPECT_EQ(ioapic.mmio_read(0x10, 2, 0), 0u);
  EXPECT_EQ(ioapic.mmio_read(0x14, 4, 0), 0u);
  EXPECT_EQ(ioapic.mmio_read(0xffc, 4, 0), 0u);
  ioapic.mmio_write(0xffc, 4, 0, 0);
  ioapic.mmio_write(0, 8, ~u64{0}, 0);
  EXPECT_EQ(ioapic.mmio_read(0, 4, 0), 0u);
}

TEST_F(VioapicMmioTest, StartupIsReservedInAnEntry) {
  program(5, 0x0699);
  ioapic.pin(5).pulse();
  EXPECT_TRUE(sink.log.empty());
}

TEST_F(VioapicMmioTest, SaveAndLoadKeepEntriesLevelsAndPins) {
  IrqPin& shared = ioapic.connect(17);
  program(17, 0x8062);
  shared.assert_pin();
  EXPECT_EQ(take(), 0x62);
  StateWriter out;
  ioapic.save(out);
  shared.deassert_pin();
  ioapic.reset();
  auto reader = StateReader::parse(out.bytes());
  ASSERT_TRUE(reader);
  ASSERT_TRUE(ioapic.load(*reader));
  EXPECT_EQ(entry(17), 0xc062u);
  write(LapicReg::eoi, 0);
  EXPECT_EQ(take(), 0x62) << "asserted and remembered";
  shared.deassert_pin();
  write(LapicReg::eoi, 0);
  EXPECT_EQ(take(), -1) << "the pin knows its own level";
  StateWriter again;
  ioapic.save(again);
  EXPECT_NE(again.bytes(), out.bytes());
}

TEST_F(VioapicMmioTest, LoadRejectsAnotherSetOfPins) {
  StateWriter out;
  ioapic.save(out);
  program(3, 0x31);
  (void)ioapic.connect(17);
  auto reader = StateReader::parse(out.bytes());
  ASSERT_TRUE(reader);
  EXPECT_FALSE(ioapic.load(*reader));
  EXPECT_EQ(entry(3), 0x10000u) << "a failed load leaves the reset state";
}

}  // namespace
}  // namespace bhyve::intc
