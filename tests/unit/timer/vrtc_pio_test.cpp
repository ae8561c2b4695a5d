#include "timer/vrtc_pio.hpp"

#include <gtest/gtest.h>

#include <ctime>

#include "fake_pins.hpp"

namespace bhyve::timer {
namespace {

class VrtcPioTest : public testing::Test {
 protected:
  void put(u8 reg, u8 value) {
    rtc.pio_write(0, 1, reg);
    rtc.pio_write(1, 1, value);
  }
  u32 get(u8 reg) {
    rtc.pio_write(0, 1, reg);
    return rtc.pio_read(1, 1);
  }

  CalloutWheel wheel;
  FakePin irq8;
  VrtcPio rtc{wheel, irq8, 1'700'000'000};
};

TEST_F(VrtcPioTest, PeriodicInterruptRaisesIrq8UntilCIsRead) {
  rtc.start();
  put(0x0a, 0x26);
  put(0x0b, 0x42);
  for (unsigned n = 1; n <= 5; ++n) {
    ASSERT_TRUE(irq8.wait_for_edges(n));
    EXPECT_EQ(irq8.edges(), n) << "no second edge before C is read";
    EXPECT_TRUE(irq8.level());
    EXPECT_EQ(get(0x0c) & 0xc0, 0xc0u);
  }
  rtc.pause();
}

TEST_F(VrtcPioTest, CutOffFromIrq8ByTheHpet) {
  rtc.start();
  rtc.set_irq_enabled(false);
  put(0x0a, 0x26);
  put(0x0b, 0x42);
  FakePin witness;
  Callout later(wheel, [&] { witness.assert_pin(); });
  later.arm(monotonic_now() + 5'000'000);
  ASSERT_TRUE(witness.wait_for_edges(1));
  EXPECT_EQ(irq8.edges(), 0u);
  rtc.set_irq_enabled(true);
  EXPECT_TRUE(irq8.wait_for_edges(1));
  rtc.pause();
}

TEST_F(VrtcPioTest, MemorySizeIsInUnitsOf64KiB) {
  rtc.set_memory_size(3 * GiB, 5 * GiB);
  EXPECT_EQ(get(0x34) | get(0x35) << 8, (3 * GiB - 16 * MiB) / (64 * KiB));
  EXPECT_EQ(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 5 * GiB / (64 * KiB));
  rtc.set_memory_size(8 * MiB, 0);
  EXPECT_EQ(get(0x34) | get(0x35) << 8, 0u);
}

TEST_F(VrtcPioTest, TimeCanBeSetAndRead) {
  rtc.set_time(1'000'000'000);
  EXPECT_NEAR(static_cast<double>(rtc.time()), 1e9, 60);
}

TEST(VrtcHostTime, UtcIsTheHostsClock) {
  EXPECT_NEAR(static_cast<double>(rtc_time_of_host(true)),
              static_cast<double>(std::time(nullptr)), 60);
}

TEST_F(VrtcPioTest, StateIsKept) {
  put(0x40, 0x5a);
  StateWriter out;
  rtc.save(out);
  FakePin pin;
  VrtcPio copy(wheel, pin, 0);
  ASSERT_TRUE(copy.load(*StateReader::parse(out.bytes())).has_value());
  EXPECT_EQ(copy.nvram(0x40), 0x5a);
  EXPECT_NEAR(static_cast<double>(copy.time()), 1.7e9, 60);
  const StateWriter empty;
  EXPECT_FALSE(copy.load(*StateReader::parse(empty.bytes())).has_value());
}

}  // namespace
}  // namespace bhyve::timer
