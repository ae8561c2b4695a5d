#include "timer/vhpet.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "chip_state.hpp"

namespace bhyve::timer {
namespace {

constexpr u64 config = 0x10, status = 0x20, counter = 0xf0;
constexpr u64 level = 2, enable = 4, periodic = 8, set_value = 0x40, mode32 = 0x100, fsb = 0x4000;
constexpr u64 timer_config(unsigned n) { return 0x100 + 0x20 * n; }
constexpr u64 comparator(unsigned n) { return 0x108 + 0x20 * n; }
constexpr u64 message(unsigned n) { return 0x110 + 0x20 * n; }
constexpr u64 route(unsigned pin) { return u64{pin} << 9; }

class VhpetTest : public testing::Test {
 protected:
  u64 get(u64 offset, unsigned size = 8) { return hpet.read(offset, size, now()); }
  void put(u64 offset, u64 value, unsigned size = 8) { hpet.write(offset, size, value, now()); }
  u32 expire() { return hpet.expire(now()); }
  [[nodiscard]] Nanos now() const { return tick * 100; }
  /// Ticks from now to the next interrupt.
  u64 next() { return (hpet.next_event() - now()) / 100; }

  Vhpet hpet{Vhpet::allowed_routes(32)};
  u64 tick = 7'000'000'000;
};

TEST_F(VhpetTest, CapabilitiesSayTenMegahertzEightTimersIntel) {
  EXPECT_EQ(get(0), 0x05f5'e100'8086'a701u);
  EXPECT_EQ(get(0, 4), Vhpet::capabilities());
  EXPECT_EQ(get(4, 4), 100'000'000u);
  put(0, 0);
  EXPECT_EQ(get(0), 0x05f5'e100'8086'a701u);
}

TEST_F(VhpetTest, AllowedRoutesFollowTheIoApic) {
  EXPECT_EQ(Vhpet::allowed_routes(32), 0xff00'0000u);
  EXPECT_EQ(Vhpet::allowed_routes(24), 0x00f0'0000u);
  EXPECT_EQ(Vhpet::allowed_routes(16), 0u);
  EXPECT_EQ(get(timer_config(7)) >> 32, 0xff00'0000u);
  EXPECT_EQ(get(timer_config(0)) & 0x8030, 0x8030u) << "periodic, 64 bits, FSB";
}

TEST_F(VhpetTest, CounterRunsOnlyWhileEnabled) {
  put(counter, 0x1'0000'0000);
  tick += 100;
  EXPECT_EQ(get(counter), 0x1'0000'0000u);
  put(config, 1);
  tick += 100;
  EXPECT_EQ(get(counter), 0x1'0000'0064u);
  EXPECT_EQ(get(counter + 4, 4), 1u);
  EXPECT_EQ(get(counter, 4), 100u);
  put(config, 0);
  tick += 100;
  EXPECT_EQ(get(counter), 0x1'0000'0064u);
  put(counter, 5, 4);
  EXPECT_EQ(get(counter), 0x1'0000'0005u);
}

TEST_F(VhpetTest, IdleHpetAsksForNoEvent) {
  EXPECT_EQ(hpet.next_event(), never);
  put(config, 1);
  EXPECT_EQ(hpet.next_event(), never);
  put(comparator(0), 1000);
  EXPECT_EQ(hpet.next_event(), never) << "its interrupt is not enabled";
}

TEST_F(VhpetTest, OneShotFiresOnceAtEquality) {
  put(config, 1);
  put(timer_config(2), enable | route(25));
  put(comparator(2), 500);
  EXPECT_EQ(next(), 500u);
  tick += 499;
  EXPECT_EQ(expire(), 0u);
  tick += 1;
  EXPECT_EQ(expire(), 1u << 2);
  EXPECT_EQ(expire(), 0u);
  EXPECT_EQ(hpet.next_event(), never);
  const HpetDelivery to = hpet.delivery(2);
  EXPECT_EQ(to.kind, HpetDelivery::Kind::pin);
  EXPECT_EQ(to.pin, 25u);
  EXPECT_FALSE(to.level);
}

TEST_F(VhpetTest, ComparatorJustPassedDoesNotFire) {
  put(config, 1);
  tick += 1000;
  put(timer_config(0), enable | route(24));
  put(comparator(0), 999);
  EXPECT_EQ(expire(), 0u);
  EXPECT_GT(next(), u64{1} << 40);
}

TEST_F(VhpetTest, OneShotIn32BitModeFiresAgainWhenTheLowHalfWraps) {
  put(counter, 0x5'ffff'fff0);
  put(timer_config(1), enable | mode32 | route(24));
  put(comparator(1), 0xabcd'0000'0010);
  EXPECT_EQ(get(comparator(1)), 0x10u);
  put(config, 1);
  EXPECT_EQ(next(), 0x20u);
  tick += 0x20;
  EXPECT_EQ(expire(), 2u);
  EXPECT_EQ(next(), u64{1} << 32);
}

TEST_F(VhpetTest, PeriodicFiresWithoutDriftAndLatePeriodsCollapse) {
  put(config, 1);
  put(timer_config(0), enable | periodic | set_value | route(24));
  put(comparator(0), 10'000);  // accumulator, clears VAL_SET
  put(comparator(0), 1'000);   // period
  EXPECT_EQ(get(timer_config(0)) & set_value, 0u);
  EXPECT_EQ(next(), 10'000u);
  tick += 10'000;
  EXPECT_EQ(expire(), 1u);
  EXPECT_EQ(get(comparator(0)), 11'000u);
  EXPECT_EQ(next(), 1'000u);
  tick += 5'300;
  EXPECT_EQ(expire(), 1u);
  EXPECT_EQ(get(comparator(0)), 16'000u);
  EXPECT_EQ(next(), 700u);
}

TEST_F(VhpetTest, OneWriteWithValSetSetsStartAndPeriod) {
  put(timer_config(0), enable | periodic | set_value | route(24));
  put(comparator(0), 1'000);
  put(config, 1);
  tick += 1'000;
  EXPECT_EQ(expire(), 1u);
  EXPECT_EQ(next(), 1'000u);
}

TEST_F(VhpetTest, PeriodZeroDoesNotStorm) {
  put(config, 1);
  put(timer_config(0), enable | periodic | set_value | route(24));
  put(comparator(0), 0);
  tick += 10;
  (void)expire();
  EXPECT_GT(hpet.next_event(), now() + 1'000'000);
}

TEST_F(VhpetTest, LevelTimerHoldsItsLineUntilStatusIsCleared) {
  put(config, 1);
  put(timer_config(3), enable | level | route(30));
  put(comparator(3), 10);
  tick += 10;
  EXPECT_EQ(expire(), 8u);
  EXPECT_TRUE(hpet.line(3));
  EXPECT_EQ(get(status), 8u);
  put(status, 0x7);
  EXPECT_TRUE(hpet.line(3));
  put(config, 0);
  EXPECT_FALSE(hpet.line(3)) << "ENABLE_CNF = 0 stops all interrupts";
  put(config, 1);
  put(status, 8, 4);
  EXPECT_FALSE(hpet.line(3));
  EXPECT_EQ(get(status), 0u);
}

TEST_F(VhpetTest, FsbDeliveryUsesTheMessageRegister) {
  put(timer_config(4), enable | fsb | route(24));
  put(message(4), 0x4041, 4);
  put(message(4) + 4, 0xfee0'1000, 4);
  const HpetDelivery to = hpet.delivery(4);
  EXPECT_EQ(to.kind, HpetDelivery::Kind::msi);
  EXPECT_EQ(to.address, 0xfee0'1000u);
  EXPECT_EQ(to.data, 0x4041u);
}

TEST_F(VhpetTest, LegacyReplacementTakesTimers0And1) {
  for (unsigned n = 0; n < 3; ++n) put(timer_config(n), enable | fsb | route(24));
  put(config, 3);
  EXPECT_TRUE(hpet.legacy_route());
  EXPECT_EQ(hpet.delivery(0).kind, HpetDelivery::Kind::legacy);
  EXPECT_EQ(hpet.delivery(1).kind, HpetDelivery::Kind::legacy);
  EXPECT_EQ(hpet.delivery(2).kind, HpetDelivery::Kind::msi);
}

TEST_F(VhpetTest, RouteThatIsNotAllowedDoesNotReadBack) {
  put(timer_config(0), enable | route(5));
  EXPECT_EQ(get(timer_config(0)) & 0x3e00, 0u);
  EXPECT_EQ(hpet.delivery(0).kind, HpetDelivery::Kind::none);
}

TEST_F(VhpetTest, OddAccessesAreSafe) {
  put(config, 1);
  EXPECT_EQ(get(1, 1), 0xa7u);
  EXPECT_EQ(get(6, 4), 0xffff'ffffu) << "crosses a register";
  EXPECT_EQ(get(0x400, 8), ~u64{0});
  put(counter, 0xff, 1);
  put(counter + 2, 0xff, 4);
  EXPECT_EQ(get(counter), 0u);
  EXPECT_EQ(get(0x200), 0u);
}

TEST_F(VhpetTest, SavedStateGoesOnAtAnotherTime) {
  put(config, 1);
  put(timer_config(0), enable | periodic | set_value | route(24));
  put(comparator(0), 1'000);
  put(timer_config(5), enable | level | mode32 | route(26));
  put(comparator(5), 400);
  tick += 450;
  (void)expire();
  Vhpet copy(Vhpet::allowed_routes(32));
  const Nanos later = 1'000'000;
  ASSERT_TRUE(copy_state(hpet, now(), copy, later));
  EXPECT_EQ(copy.next_event() - later, hpet.next_event() - now());
  for (u64 offset = 0; offset < Vhpet::register_space; offset += 8)
    EXPECT_EQ(copy.read(offset, 8, later), get(offset)) << offset;
  EXPECT_TRUE(copy.line(5));
}

TEST_F(VhpetTest, StateOutOfRangeIsRefused) {
  const std::vector<u8> body(1024, 0xff);
  StateSection section(1, body);
  hpet.load(section, now());
  EXPECT_FALSE(section.ok());
}

TEST_F(VhpetTest, AnyAccessIsSafe) {
  std::mt19937_64 random(9);
  for (int n = 0; n < 200'000; ++n) {
    const u64 r = random();
    const auto size = 1u << (r % 4);
    const u64 offset = (r >> 8) % 0x240;
    if (r & 0x10) put(offset & ~u64{size - 1}, r & 0x20 ? random() : random() % 5000, size);
    else (void)get(offset, size);
    (void)expire();
    for (unsigned t = 0; t < Vhpet::timers; ++t) (void)hpet.line(t);
    ASSERT_GT(hpet.next_event(), now());
    if (r & 0x40) tick += r >> 50;
  }
}

}  // namespace
}  // namespace bhyve::timer
