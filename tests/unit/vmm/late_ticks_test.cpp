// Ticks of the system's timer when the thread that makes them has not had its turn, or the vCPU not.
#include <optional>

#include "base/callout.hpp"
#include "fake_engine.hpp"

namespace bhyve::vmm::test {
namespace {

constexpr u64 ioapic = 0xfec0'0000, hpet = 0xfed0'0000;
constexpr u8 tick_vector = 0x30, other_vector = 0x90;
constexpr Nanos period = 4'000'000;

class LateTicks : public VmTest {
 protected:
  /// One vCPU that takes IRQ 0 by the I/O APIC, and a wheel whose thread is held up.
  void SetUp() override {
    make(1);
    enable_lapic(0);
    mmio(ioapic, 0x10 + 2 * 2);
    mmio(ioapic + 0x10, tick_vector);
    vm->chips().start();
    hold_.emplace(vm->callouts(), [this] {
      held_.store(true);
      held_.notify_all();
      release_.wait(false);
    });
    hold_->arm(0);
    held_.wait(false);
  }
  void TearDown() override {
    release_.store(true);
    release_.notify_all();
    hold_.reset();
    vm->chips().pause();
  }
  void mmio(u64 gpa, u64 value, unsigned size = 4) {
    ASSERT_EQ(vm->vcpu(0).mmio(0, Gpa{gpa}, size, value, Dir::write), engine::Client::Access::done);
  }
  void pio(u16 port, u32 value) {
    ASSERT_EQ(vm->vcpu(0).pio(0, port, 1, value, Dir::write), engine::Client::Access::done);
  }
  void start_pit() {
    constexpr u32 count = 4773;  // 250 Hz
    pio(0x43, 0x34);
    pio(0x40, count & 0xff);
    pio(0x40, count >> 8);
  }
  void start_hpet() {
    mmio(hpet + 0x100, 0x4c, 8);  // periodic, enabled, the comparator is written
    mmio(hpet + 0x108, 40'000, 8);
    mmio(hpet + 0x10, 3, 8);      // runs, legacy replacement
  }
  static void pass(unsigned periods) {
    const Nanos end = monotonic_now() + periods * period;
    while (monotonic_now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  /// The guest takes one interrupt and ends its handler.
  int take() {
    const int vector = vm->vcpu(0).accept_interrupt(0);
    if (vector >= 0) vm->chips().lapic(0).mmio_write(0xb0, 0, monotonic_now());
    return vector;
  }
  bool waiting() { return vm->vcpu(0).pending(0).interrupt; }
  unsigned take_all() {
    unsigned n = 0;
    for (; waiting(); ++n) EXPECT_EQ(take(), tick_vector);
    return n;
  }

 private:
  std::optional<Callout> hold_;
  std::atomic<bool> held_{false}, release_{false};
};

TEST_F(LateTicks, AGuestThatReadsTheClockHasHadThePits) {
  start_pit();
  take_all();
  pass(8);
  EXPECT_FALSE(waiting()) << "nobody makes ticks";
  vm->vcpu(0).before_clock(0);
  EXPECT_GE(take_all(), 7u);
}

TEST_F(LateTicks, AGuestThatReadsTheClockHasHadTheHpets) {
  start_hpet();
  take_all();
  pass(8);
  vm->vcpu(0).before_clock(0);
  EXPECT_GE(take_all(), 7u);
}

TEST_F(LateTicks, OnlyTheTickItselfMakesRoomForTheNext) {
  start_pit();
  take_all();
  pass(8);
  raise(0, other_vector);
  vm->vcpu(0).before_clock(0);
  EXPECT_EQ(take(), other_vector);
  EXPECT_GE(take_all(), 7u) << "none got lost behind the other";
}

TEST_F(LateTicks, AVcpuThatWaitsForItsTurnGetsWhatWasMadeInTime) {
  start_pit();
  take_all();
  for (unsigned n = 0; n < 8; ++n) {
    pass(1);
    vm->vcpu(0).before_clock(0);
  }
  EXPECT_GE(take_all(), 7u);
}

TEST_F(LateTicks, AnotherCountForgetsThem) {
  start_pit();
  take_all();
  pass(8);
  vm->vcpu(0).before_clock(0);
  pio(0x43, 0x30);  // counts down once, from the end of the second byte on
  EXPECT_LE(take_all(), 1u);
}

}  // namespace
}  // namespace bhyve::vmm::test
