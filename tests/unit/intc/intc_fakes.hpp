#pragma once
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "intc/lapic_bus.hpp"
#include "intc/vlapic.hpp"

namespace bhyve::intc {

/// Remembers what chips asked of the CPUs, as text. One thread only.
class RecordingSink final : public CpuSink {
 public:
  void notify(VcpuId) override { ++notifies; }
  void nmi(VcpuId vcpu) override { log.push_back(fmt::format("nmi {}", vcpu)); }
  void extint(VcpuId vcpu) override { log.push_back(fmt::format("extint {}", vcpu)); }
  void init(VcpuId vcpu) override { log.push_back(fmt::format("init {}", vcpu)); }
  void sipi(VcpuId vcpu, u8 vector) override {
    log.push_back(fmt::format("sipi {} {:02x}", vcpu, vector));
  }

  unsigned notifies = 0;
  std::vector<std::string> log;
};

class RecordingEoi final : public EoiSink {
 public:
  void eoi(u8 vector) override { vectors.push_back(vector); }
  std::vector<u8> vectors;
};

/// Four local APICs on one bus.
class LapicFixture : public ::testing::Test {
 protected:
  static constexpr unsigned count = 4;

  LapicFixture() {
    bus.set_eoi_sink(&eois);
    for (VcpuId id = 0; id < count; ++id) lapics.push_back(std::make_unique<Vlapic>(id, bus));
  }

  static u32 offset(LapicReg reg) { return static_cast<u32>(reg); }
  static u32 msr(LapicReg reg) { return 0x800 + offset(reg) / 16; }
  Vlapic& apic(unsigned n = 0) { return *lapics[n]; }
  u32 read(LapicReg reg, unsigned n = 0, Nanos now = 0) {
    return apic(n).mmio_read(offset(reg), now);
  }
  void write(LapicReg reg, u32 value, unsigned n = 0, Nanos now = 0) {
    apic(n).mmio_write(offset(reg), value, now);
  }
  void enable(unsigned n) { write(LapicReg::svr, 0x1ff, n); }
  void enable_all() {
    for (unsigned n = 0; n < count; ++n) enable(n);
  }
  void enter_x2apic(unsigned n) {
    ASSERT_TRUE(apic(n).apic_base_write(apic(n).apic_base() | 0x400));
  }
  /// Takes whatever is deliverable, without EOI; -1 = nothing.
  int take(unsigned n = 0) {
    const int vector = apic(n).pending_vector();
    if (vector >= 0) apic(n).accept(static_cast<u8>(vector));
    return vector;
  }
  /// Which local APICs have something deliverable, as a bit mask.
  unsigned receivers() {
    unsigned mask = 0;
    for (unsigned n = 0; n < count; ++n) mask |= (apic(n).pending_vector() >= 0 ? 1u : 0u) << n;
    return mask;
  }
  u32 errors(unsigned n = 0) {
    write(LapicReg::esr, 0, n);
    return read(LapicReg::esr, n);
  }

  /// 1 GHz timer; the guest's TSC runs at 2 GHz and started 500 ns before time 0.
  static LapicConfig config() {
    LapicConfig c;
    c.tsc_to_nanos = [](u64 tsc, VcpuId) -> Nanos {
      return tsc / 2 < 500 ? 0 : (tsc + 1) / 2 - 500;
    };
    return c;
  }

  RecordingSink sink;
  RecordingEoi eois;
  LapicBus bus{sink, config()};
  std::vector<std::unique_ptr<Vlapic>> lapics;
};

}  // namespace bhyve::intc
