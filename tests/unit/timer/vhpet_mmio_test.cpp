#include "timer/vhpet_mmio.hpp"

#include <gtest/gtest.h>

#include <mutex>
#include <vector>

#include "fake_pins.hpp"

namespace bhyve::timer {
namespace {

constexpr u64 config = 0x10, status = 0x20;
/// Comparators are set while the counter stands at 0, so that no test misses one.
constexpr u64 one_ms = 10'000;
constexpr u64 level = 2, enable = 4, periodic = 8, set_value = 0x40, fsb = 0x4000;
constexpr u64 timer_config(unsigned n) { return 0x100 + 0x20 * n; }
constexpr u64 comparator(unsigned n) { return 0x108 + 0x20 * n; }
constexpr u64 route(unsigned pin) { return u64{pin} << 9; }

class FakeMsi final : public intc::MsiSink {
 public:
  void msi(u64 address, u32 data) override {
    const std::lock_guard lock(mutex);
    address_ = address;
    data_ = data;
    arrived.assert_pin();
  }
  std::mutex mutex;
  u64 address_ = 0;
  u32 data_ = 0;
  FakePin arrived;
};

class VhpetMmioTest : public testing::Test {
 protected:
  VhpetWiring wiring() {
    VhpetWiring w;
    w.pins[24] = &pin24;
    w.pins[25] = &pin25;
    w.legacy_irq0 = &irq0;
    w.legacy_irq8 = &irq8;
    w.msi = &msi;
    w.legacy_changed = [this](bool on) { legacy.push_back(on); };
    return w;
  }
  u64 get(u64 offset) { return hpet.mmio_read(offset, 8, 0); }
  void put(u64 offset, u64 value) { hpet.mmio_write(offset, 8, value, 0); }

  CalloutWheel wheel;
  FakePin pin24, pin25, irq0, irq8;
  FakeMsi msi;
  std::vector<bool> legacy;
  VhpetMmio hpet{wheel, Vhpet::allowed_routes(32), wiring()};
};

TEST_F(VhpetMmioTest, OnlyConnectedPinsAreOffered) {
  EXPECT_EQ(get(timer_config(0)) >> 32, 0x0300'0000u);
}

TEST_F(VhpetMmioTest, PeriodicEdgeTimerPulsesItsPin) {
  hpet.start();
  put(config, 1);
  put(timer_config(0), enable | periodic | set_value | route(24));
  put(comparator(0), 10'000);
  EXPECT_TRUE(pin24.wait_for_edges(3));
  hpet.pause();
  EXPECT_FALSE(pin24.level());
  EXPECT_EQ(pin25.edges(), 0u);
}

TEST_F(VhpetMmioTest, LevelTimersShareAPinUntilBothAreCleared) {
  hpet.start();
  for (unsigned n : {2u, 3u}) {
    put(timer_config(n), enable | level | route(25));
    put(comparator(n), one_ms);
  }
  put(config, 1);
  ASSERT_TRUE(pin25.wait_for_edges(1));
  while (get(status) != 0xc) {}
  put(status, 4);
  EXPECT_TRUE(pin25.level());
  put(status, 8);
  EXPECT_FALSE(pin25.level());
  EXPECT_EQ(pin25.edges(), 1u);
  hpet.pause();
}

TEST_F(VhpetMmioTest, FsbTimerSendsItsMessage) {
  hpet.start();
  put(0x110 + 0x20 * 6, 0xfee0'2000'0000'0055);
  put(timer_config(6), enable | fsb);
  put(comparator(6), one_ms);
  put(config, 1);
  ASSERT_TRUE(msi.arrived.wait_for_edges(1));
  const std::lock_guard lock(msi.mutex);
  EXPECT_EQ(msi.address_, 0xfee0'2000u);
  EXPECT_EQ(msi.data_, 0x55u);
}

TEST_F(VhpetMmioTest, LegacyReplacementUsesIrq0AndTellsTheOthers) {
  hpet.start();
  put(timer_config(0), enable);
  put(comparator(0), one_ms);
  put(timer_config(1), enable);
  put(comparator(1), one_ms);
  put(config, 3);
  EXPECT_EQ(legacy, std::vector<bool>{true});
  EXPECT_TRUE(irq0.wait_for_edges(1));
  EXPECT_TRUE(irq8.wait_for_edges(1));
  put(config, 1);
  EXPECT_EQ(legacy, (std::vector<bool>{true, false}));
  put(config, 3);
  hpet.pause();
  hpet.reset();
  EXPECT_EQ(legacy, (std::vector<bool>{true, false, true, false}));
}

TEST_F(VhpetMmioTest, ComparatorEqualToAHaltedCounterFiresWhenItStarts) {
  hpet.start();
  put(timer_config(0), enable | route(24));
  put(comparator(0), 0);
  EXPECT_EQ(pin24.edges(), 0u);
  put(config, 1);
  EXPECT_EQ(pin24.edges(), 1u);
}

TEST_F(VhpetMmioTest, StateIsKept) {
  put(config, 3);
  put(timer_config(0), enable | periodic | set_value);
  put(comparator(0), 10'000);
  StateWriter out;
  hpet.save(out);
  FakePin other_irq0;
  VhpetWiring w;
  w.legacy_irq0 = &other_irq0;
  VhpetMmio copy(wheel, 0, w);
  ASSERT_TRUE(copy.load(*StateReader::parse(out.bytes())).has_value());
  copy.start();
  EXPECT_TRUE(other_irq0.wait_for_edges(2));
  copy.pause();
}

}  // namespace
}  // namespace bhyve::timer
