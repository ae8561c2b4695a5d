#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "intc/vatpic_pio.hpp"
#include "intc/vioapic_mmio.hpp"
#include "intc/vlapic_timer.hpp"

namespace bhyve::intc {
namespace {

constexpr unsigned cpus = 3;

/// A futex-like doorbell for each vCPU.
class BellSink final : public CpuSink {
 public:
  void notify(VcpuId vcpu) override { ring(vcpu); }
  void nmi(VcpuId vcpu) override {
    nmis.fetch_add(1);
    ring(vcpu);
  }
  void extint(VcpuId vcpu) override { ring(vcpu); }
  void init(VcpuId) override {}
  void sipi(VcpuId, u8) override {}

  void ring(VcpuId vcpu) {
    bells[vcpu].fetch_add(1);
    bells[vcpu].notify_one();
  }

  std::array<std::atomic<u32>, cpus> bells{};
  std::atomic<u32> nmis{0};
};

/// Each vCPU thread takes its interrupts and answers by EOI, while devices, other vCPUs and the
/// callout thread send. Every sender waits until its last message was served, so none may be lost.
class IntcThreadsTest : public ::testing::Test {
 protected:
  static constexpr u8 ipi_vector = 0x40, msi_vector = 0x50, level_vector = 0x60,
                      timer_vector = 0xec;

  IntcThreadsTest() {
    for (VcpuId id = 0; id < cpus; ++id) {
      lapics.push_back(std::make_unique<Vlapic>(id, bus));
      timers.push_back(std::make_unique<VlapicTimer>(*lapics[id], wheel));
      lapics[id]->mmio_write(0xf0, 0x1ff, 0);
      lapics[id]->mmio_write(0x320, 0x20000 | timer_vector, 0);
      lapics[id]->mmio_write(0x3e0, 0xb, 0);
      timers[id]->start();
    }
    const u8 words[4] = {0x11, 0x20, 0x04, 0x01};
    for (unsigned i = 0; i < 4; ++i) pic.master_ports().pio_write(i == 0 ? 0 : 1, 1, words[i]);
    ioapic.mmio_write(0, 4, 0x10 + 2 * 16 + 1, 0);
    ioapic.mmio_write(0x10, 4, 1u << 24, 0);
    ioapic.mmio_write(0, 4, 0x10 + 2 * 16, 0);
    ioapic.mmio_write(0x10, 4, 0x8000 | level_vector, 0);
  }

  void serve(VcpuId self, u8 vector) {
    Vlapic& lapic = *lapics[self];
    lapic.accept(vector);
    if (vector == level_vector) line.deassert_pin();
    if (vector == timer_vector) lapic.set_cr8(static_cast<u8>(served[self][vector].load() % 3));
    lapic.mmio_write(0xb0, 0, monotonic_now());
    served[self][vector].fetch_add(1);
    served[self][vector].notify_all();
  }

  void run_vcpu(VcpuId self) {
    Vlapic& lapic = *lapics[self];
    lapic.mmio_write(0x380, 500'000, monotonic_now());
    while (!stop.load()) {
      const u32 bell = sink.bells[self].load();
      int vector = lapic.pending_vector();
      for (; vector >= 0; vector = lapic.pending_vector()) serve(self, static_cast<u8>(vector));
      if (self == 0 && pic.intr()) {
        if (pic.acknowledge() == 0x24) {
          pic.master_ports().pio_write(0, 1, 0x20);
          pic_served.fetch_add(1);
          pic_served.notify_all();
        }
        continue;
      }
      if (!stop.load()) sink.bells[self].wait(bell);
    }
    lapic.mmio_write(0x380, 0, monotonic_now());
  }

  /// Sends and waits until `vector` was served once more.
  template <class Send>
  void send_and_wait(VcpuId to, u8 vector, Send send) {
    const u32 before = served[to][vector].load();
    send();
    served[to][vector].wait(before);
  }

  BellSink sink;
  CalloutWheel wheel;
  LapicBus bus{sink, LapicConfig{}};
  VioapicMmio ioapic{bus};
  VatpicPio pic{sink};
  IrqPin& line = ioapic.connect(16);
  std::vector<std::unique_ptr<Vlapic>> lapics;
  std::vector<std::unique_ptr<VlapicTimer>> timers;
  std::array<std::array<std::atomic<u32>, 256>, cpus> served{};
  std::atomic<u32> pic_served{0};
  std::atomic<bool> stop{false};
};

TEST_F(IntcThreadsTest, NoInterruptIsLostBetweenThreads) {
  constexpr unsigned rounds = 300;
  std::vector<std::thread> vcpus;
  for (VcpuId id = 0; id < cpus; ++id) vcpus.emplace_back([this, id] { run_vcpu(id); });
  std::vector<std::thread> senders;
  senders.emplace_back([this] {
    for (unsigned i = 0; i < rounds; ++i)
      send_and_wait(2, msi_vector, [&] { bus.msi(0xfee0'0000 | 2 << 12, msi_vector); });
  });
  senders.emplace_back([this] {
    for (unsigned i = 0; i < rounds; ++i)
      send_and_wait(1, level_vector, [&] { line.assert_pin(); });
  });
  senders.emplace_back([this] {
    for (unsigned i = 0; i < rounds; ++i) {
      const u32 before = pic_served.load();
      pic.pin(4).pulse();
      pic_served.wait(before);
    }
  });
  senders.emplace_back([this] {
    LapicMessage message;
    message.vector = ipi_vector;
    message.destination = 0xff;
    for (unsigned i = 0; i < rounds; ++i) {
      std::array<u32, cpus> before;
      for (VcpuId id = 0; id < cpus; ++id) before[id] = served[id][ipi_vector].load();
      bus.deliver(message);
      for (VcpuId id = 0; id < cpus; ++id) served[id][ipi_vector].wait(before[id]);
      message.mode = DeliveryMode::nmi;
      bus.deliver(message);
      message.mode = DeliveryMode::fixed;
    }
  });
  // All the while both controllers' inputs are masked and unmasked: what is asked for meanwhile waits.
  std::atomic<bool> sent{false};
  std::thread masker([&] {
    while (!sent.load()) {
      for (const bool masked : {true, false}) {
        ioapic.mmio_write(0x10, 4, 0x8000u | level_vector | (masked ? 0x1'0000u : 0), 0);
        pic.master_ports().pio_write(1, 1, masked ? 0x10 : 0);
      }
    }
  });
  for (auto& thread : senders) thread.join();
  sent.store(true);
  masker.join();
  for (VcpuId id = 0; id < cpus; ++id) {
    for (u32 seen = served[id][timer_vector].load(); seen < 5;
         seen = served[id][timer_vector].load())
      served[id][timer_vector].wait(seen);
  }
  stop.store(true);
  for (VcpuId id = 0; id < cpus; ++id) sink.ring(id);
  for (auto& thread : vcpus) thread.join();
  for (auto& timer : timers) timer->pause();

  EXPECT_EQ(served[2][msi_vector].load(), rounds);
  EXPECT_EQ(served[1][level_vector].load(), rounds);
  EXPECT_EQ(pic_served.load(), rounds);
  EXPECT_EQ(sink.nmis.load(), rounds * cpus);
  for (VcpuId id = 0; id < cpus; ++id) EXPECT_EQ(served[id][ipi_vector].load(), rounds);
}

}  // namespace
}  // namespace bhyve::intc
