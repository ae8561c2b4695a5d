// ICR writes, EOIs, timers and MSIs of several threads at once on the chips alone, in both modes; for
// the thread sanitizer. Every vCPU's registers are used by its own thread alone, as in a VM.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "intc/vioapic_mmio.hpp"
#include "intc/vlapic_timer.hpp"
#include "x86/msr.hpp"

namespace bhyve::intc {
namespace {

constexpr unsigned cpus = 4, rounds = 200;
constexpr u8 ipi_vector = 0x40, msi_vector = 0x50, level_vector = 0x60, timer_vector = 0xec;

class BellSink final : public CpuSink {
 public:
  void notify(VcpuId vcpu) override {
    bells[vcpu].fetch_add(1);
    bells[vcpu].notify_one();
  }
  void nmi(VcpuId vcpu) override { nmis[vcpu].fetch_add(1); }
  void extint(VcpuId vcpu) override { notify(vcpu); }
  void init(VcpuId) override {}
  void sipi(VcpuId, u8) override {}

  std::array<std::atomic<u32>, cpus> bells{}, nmis{};
};

class ApicRaceTest : public testing::TestWithParam<bool> {
 protected:
  ApicRaceTest() {
    for (VcpuId id = 0; id < cpus; ++id) {
      lapics.push_back(std::make_unique<Vlapic>(id, bus));
      timers.push_back(std::make_unique<VlapicTimer>(*lapics[id], wheel));
      if (x2apic()) {
        const u64 base = lapics[id]->apic_base();
        EXPECT_TRUE(lapics[id]->apic_base_write(base | x86::msr::apic_base_x2apic));
      }
      write(id, LapicReg::svr, 0x1ff);
      write(id, LapicReg::lvt_timer, 0x20000 | timer_vector);
      write(id, LapicReg::timer_divide, 0xb);
      timers[id]->start();
    }
    ioapic.mmio_write(0, 4, 0x10 + 2 * 16 + 1, 0);
    ioapic.mmio_write(0x10, 4, 1u << 24, 0);
    ioapic.mmio_write(0, 4, 0x10 + 2 * 16, 0);
    ioapic.mmio_write(0x10, 4, 0x8000 | level_vector, 0);
  }
  [[nodiscard]] static bool x2apic() { return GetParam(); }

  void write(VcpuId id, LapicReg reg, u64 value) {
    const u32 offset = static_cast<u32>(reg);
    if (x2apic()) {
      EXPECT_TRUE(lapics[id]->msr_write(0x800 + offset / 16, value, monotonic_now()));
    } else {
      lapics[id]->mmio_write(offset, static_cast<u32>(value), monotonic_now());
    }
  }
  void send_ipi(VcpuId from, VcpuId to) {
    if (x2apic()) return write(from, LapicReg::icr_low, u64{to} << 32 | ipi_vector);
    write(from, LapicReg::icr_high, to << 24);
    write(from, LapicReg::icr_low, ipi_vector);
  }
  void serve(VcpuId self, u8 vector) {
    lapics[self]->accept(vector);
    if (vector == level_vector) line.deassert_pin();
    if (vector == timer_vector) {
      // Re-armed from the handler, with another period and divider every time.
      const u32 n = served[self][vector].load();
      write(self, LapicReg::timer_divide, n % 2 ? 0xb : 0);
      write(self, LapicReg::timer_initial, 100'000 + 1'000 * (n % 16));
    }
    if (vector == ipi_vector) lapics[self]->set_cr8(static_cast<u8>(served[self][vector] % 4));
    write(self, LapicReg::eoi, 0);
    served[self][vector].fetch_add(1);
    served[self][vector].notify_all();
  }
  /// A vCPU: takes what comes, and between that sends its next IPI once the last one was served.
  void run_vcpu(VcpuId self) {
    const VcpuId next = (self + 1) % cpus;
    write(self, LapicReg::timer_initial, 100'000);
    for (unsigned sent = 0; !stop.load();) {
      const u32 bell = sink.bells[self].load();
      for (int v = lapics[self]->pending_vector(); v >= 0; v = lapics[self]->pending_vector())
        serve(self, static_cast<u8>(v));
      if (sent < rounds && served[next][ipi_vector].load() == sent) {
        ++sent;
        send_ipi(self, next);
      } else if (sent == rounds && !stop.load()) {
        sink.bells[self].wait(bell);
      } else {
        std::this_thread::yield();
      }
    }
    write(self, LapicReg::timer_initial, 0);
  }
  void await(VcpuId id, u8 vector, u32 wanted) {
    for (u32 seen = served[id][vector].load(); seen < wanted; seen = served[id][vector].load())
      served[id][vector].wait(seen);
  }

  BellSink sink;
  CalloutWheel wheel;
  LapicBus bus{sink, LapicConfig{}};
  VioapicMmio ioapic{bus};
  IrqPin& line = ioapic.connect(16);
  std::vector<std::unique_ptr<Vlapic>> lapics;
  std::vector<std::unique_ptr<VlapicTimer>> timers;
  std::array<std::array<std::atomic<u32>, 256>, cpus> served{};
  std::atomic<bool> stop{false};
};

TEST_P(ApicRaceTest, IcrEoiTimersAndMsisOfManyThreadsLoseNothing) {
  std::vector<std::thread> vcpus, devices;
  for (VcpuId id = 0; id < cpus; ++id) vcpus.emplace_back([this, id] { run_vcpu(id); });
  for (unsigned device = 0; device < 2; ++device)
    devices.emplace_back([this, device] {
      const u8 vector = static_cast<u8>(msi_vector + device);
      for (u32 n = 1; n <= rounds; ++n) {
        bus.msi(0xfee0'0000 | (2 + device) << 12, vector);
        await(2 + device, vector, n);
      }
    });
  devices.emplace_back([this] {
    for (u32 n = 1; n <= rounds; ++n) {
      line.assert_pin();
      await(1, level_vector, n);
    }
  });
  devices.emplace_back([this] {  // bhyvectl
    for (u32 n = 0; n < rounds; ++n) {
      (void)bus.local_irq_all(static_cast<unsigned>(LvtIndex::lint1));
      for (auto& lapic : lapics)
        lapic->stats().report([](std::string_view, u64) {});
    }
  });
  for (std::thread& thread : devices) thread.join();
  for (VcpuId id = 0; id < cpus; ++id) {
    await(id, ipi_vector, rounds);
    await(id, timer_vector, 3);
  }
  stop.store(true);
  for (VcpuId id = 0; id < cpus; ++id) sink.notify(id);
  for (std::thread& thread : vcpus) thread.join();
  for (auto& timer : timers) timer->pause();
  for (VcpuId id = 0; id < cpus; ++id) EXPECT_EQ(served[id][ipi_vector].load(), rounds);
  EXPECT_EQ(served[1][level_vector].load(), rounds);
  EXPECT_EQ(served[2][msi_vector].load(), rounds);
  EXPECT_EQ(served[3][msi_vector + 1].load(), rounds);
}
INSTANTIATE_TEST_SUITE_P(Modes, ApicRaceTest, testing::Bool(), [](const auto& mode) {
  return mode.param ? "x2apic" : "xapic";
});

}  // namespace
}  // namespace bhyve::intc
