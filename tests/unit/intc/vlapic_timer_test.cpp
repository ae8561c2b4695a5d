#include "intc/vlapic_timer.hpp"

#include <condition_variable>
#include <mutex>

#include "intc_fakes.hpp"

namespace bhyve::intc {
namespace {

class VlapicTimerTest : public LapicFixture {
 protected:
  VlapicTimerTest() {
    enable(0);
    write(LapicReg::timer_divide, 0xb);
  }
};

TEST_F(VlapicTimerTest, OneShotFiresItsVectorAndStops) {
  write(LapicReg::lvt_timer, 0xec);
  write(LapicReg::timer_initial, 1000, 0, 50);
  EXPECT_EQ(apic().timer_deadline(), 1050u);
  EXPECT_EQ(read(LapicReg::timer_current, 0, 350), 700u);
  apic().timer_expired(1049);
  EXPECT_EQ(apic().pending_vector(), -1);
  apic().timer_expired(1050);
  EXPECT_EQ(take(), 0xec);
  EXPECT_EQ(apic().timer_deadline(), never);
  EXPECT_EQ(read(LapicReg::timer_initial), 1000u);
}

TEST_F(VlapicTimerTest, MaskedTimerRunsAndItsInterruptIsLost) {
  write(LapicReg::lvt_timer, 0x300ec);
  write(LapicReg::timer_initial, 1'000'000);
  apic().timer_expired(1'000'000);
  write(LapicReg::lvt_timer, 0x200ec);
  EXPECT_EQ(apic().pending_vector(), -1);
  EXPECT_EQ(apic().timer_deadline(), 2'000'000u);
}

// The callout thread may be late by any time. What has expired then is sent, or lost, as it would have
// been.
TEST_F(VlapicTimerTest, ALateCalloutIsNotNoticedByTheGuest) {
  write(LapicReg::lvt_timer, 0x100ec);
  write(LapicReg::timer_initial, 1000, 0, 0);
  write(LapicReg::lvt_timer, 0xec, 0, 1500);  // unmasked after it expired
  apic().timer_expired(1600);
  EXPECT_EQ(apic().pending_vector(), -1);
  write(LapicReg::timer_initial, 1000, 0, 2000);
  EXPECT_EQ(read(LapicReg::timer_current, 0, 2999), 1u);
  EXPECT_EQ(apic().pending_vector(), -1);
  EXPECT_EQ(read(LapicReg::timer_current, 0, 3000), 0u);
  EXPECT_EQ(take(), 0xec);
  write(LapicReg::eoi, 0);
  for (const LapicReg reg : {LapicReg::timer_initial, LapicReg::lvt_timer, LapicReg::svr}) {
    write(LapicReg::svr, 0x1ff, 0, 4000);
    write(LapicReg::lvt_timer, 0xec, 0, 4000);
    write(LapicReg::timer_initial, 1000, 0, 4000);
    // Stopped, masked, disabled: all too late.
    write(reg, reg == LapicReg::lvt_timer ? 0x100ec : reg == LapicReg::svr ? 0xff : 0, 0, 5000);
    EXPECT_EQ(take(), 0xec);
    write(LapicReg::eoi, 0);
    EXPECT_EQ(apic().timer_deadline(), never);
  }
}

TEST_F(VlapicTimerTest, ALateCalloutDoesNotChangeTheTscDeadline) {
  write(LapicReg::lvt_timer, 0x400ec);
  apic().set_tsc_deadline(5000, 0);  // = 2000 ns
  EXPECT_EQ(apic().tsc_deadline(1999), 5000u);
  EXPECT_EQ(apic().tsc_deadline(2000), 0u);
  EXPECT_EQ(take(), 0xec);
  write(LapicReg::eoi, 0);
  apic().set_tsc_deadline(5000, 0);
  apic().set_tsc_deadline(0, 2500);
  EXPECT_EQ(take(), 0xec);
  write(LapicReg::eoi, 0);
}

TEST_F(VlapicTimerTest, ChangeOfModeInTheLvtDisarms) {
  write(LapicReg::lvt_timer, 0xec);
  write(LapicReg::timer_initial, 1000);
  write(LapicReg::lvt_timer, 0x400ec);
  EXPECT_EQ(apic().timer_deadline(), never);
  EXPECT_EQ(read(LapicReg::timer_initial), 0u);
}

TEST_F(VlapicTimerTest, TscDeadlineFiresWhenTheTscGetsThere) {
  write(LapicReg::lvt_timer, 0x400ec);
  apic().set_tsc_deadline(5000, 100);
  EXPECT_EQ(apic().tsc_deadline(0), 5000u);
  EXPECT_EQ(apic().timer_deadline(), 2000u);
  EXPECT_EQ(read(LapicReg::timer_current, 0, 100), 0u);
  apic().timer_expired(2000);
  EXPECT_EQ(take(), 0xec);
  EXPECT_EQ(apic().tsc_deadline(0), 0u);
}

TEST_F(VlapicTimerTest, TscDeadlineInThePastFiresAtOnce) {
  write(LapicReg::lvt_timer, 0x400ec);
  apic().set_tsc_deadline(1, 100);
  EXPECT_EQ(take(), 0xec);
  EXPECT_EQ(apic().timer_deadline(), never);
}

TEST_F(VlapicTimerTest, TscDeadlineZeroDisarmsAndOtherModesIgnoreIt) {
  apic().set_tsc_deadline(5000, 0);
  EXPECT_EQ(apic().tsc_deadline(0), 0u);
  write(LapicReg::lvt_timer, 0x400ec);
  apic().set_tsc_deadline(5000, 0);
  apic().set_tsc_deadline(0, 0);
  EXPECT_EQ(apic().timer_deadline(), never);
  EXPECT_EQ(apic().pending_vector(), -1);
}

TEST(VlapicTscTest, WriteOfTheTscMovesTheDeadline) {
  RecordingSink sink;
  u64 offset = 0;
  LapicConfig config;
  config.tsc_to_nanos = [&](u64 tsc, VcpuId) { return tsc - offset; };
  LapicBus bus(sink, config);
  Vlapic lapic(0, bus);
  lapic.mmio_write(0xf0, 0x1ff, 0);
  lapic.mmio_write(0x320, 0x400ec, 0);
  lapic.set_tsc_deadline(1'000'000, 0);
  offset = 400'000;
  lapic.tsc_changed(1000);
  EXPECT_EQ(lapic.timer_deadline(), 600'000u);
  offset = 999'500;
  lapic.tsc_changed(1000);
  EXPECT_EQ(lapic.pending_vector(), 0xec);
}

TEST_F(VlapicTimerTest, InitStopsTheTimer) {
  write(LapicReg::lvt_timer, 0x200ec);
  write(LapicReg::timer_initial, 1000);
  apic().reset(Vlapic::Reset::init);
  EXPECT_EQ(apic().timer_deadline(), never);
}

/// Wakes the test when a vector arrives.
class WaitingSink final : public CpuSink {
 public:
  void notify(VcpuId) override {
    const std::lock_guard guard(lock);
    ++count;
    changed.notify_all();
  }
  void nmi(VcpuId) override {}
  void extint(VcpuId) override {}
  void init(VcpuId) override {}
  void sipi(VcpuId, u8) override {}
  bool wait_for(unsigned n) {
    std::unique_lock guard(lock);
    return changed.wait_for(guard, std::chrono::seconds(20), [&] { return count >= n; });
  }

  std::mutex lock;
  std::condition_variable changed;
  unsigned count = 0;
};

TEST(VlapicTimerAdapterTest, TheCalloutDeliversPeriodsAndPauseStopsThem) {
  WaitingSink sink;
  CalloutWheel wheel;
  LapicBus bus(sink, LapicConfig{});
  Vlapic lapic(0, bus);
  VlapicTimer timer(lapic, wheel);
  lapic.mmio_write(0xf0, 0x1ff, 0);
  lapic.mmio_write(0x320, 0x200ec, 0);
  lapic.mmio_write(0x3e0, 0xb, 0);
  timer.start();
  lapic.mmio_write(0x380, 1'000'000, monotonic_now());
  for (unsigned i = 1; i <= 3; ++i) {
    ASSERT_TRUE(sink.wait_for(i));
    ASSERT_EQ(lapic.pending_vector(), 0xec);
    lapic.accept(0xec);
    lapic.mmio_write(0xb0, 0, 0);
  }
  timer.pause();
  const int pending = lapic.pending_vector();
  if (pending >= 0) lapic.accept(0xec), lapic.mmio_write(0xb0, 0, 0);
  EXPECT_NE(lapic.timer_deadline(), never) << "the chip goes on; nobody drives it";
  timer.start();
  ASSERT_TRUE(sink.wait_for(pending >= 0 ? 5 : 4));
  timer.pause();
}

}  // namespace
}  // namespace bhyve::intc
