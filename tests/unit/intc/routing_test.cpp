// Every way to address a local APIC, for ids up to 1023: IPIs physical and logical, MSIs and the I/O
// APIC with the extended destination id.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "intc/vioapic_mmio.hpp"
#include "intc/vlapic.hpp"
#include "x86/msr.hpp"

namespace bhyve::intc {
namespace {

class CountingSink final : public CpuSink {
 public:
  void notify(VcpuId vcpu) override { ++notified[vcpu]; }
  void nmi(VcpuId vcpu) override { ++nmis[vcpu]; }
  void extint(VcpuId) override {}
  void init(VcpuId) override {}
  void sipi(VcpuId, u8) override {}
  std::vector<unsigned> notified = std::vector<unsigned>(LapicBus::max_lapics);
  std::vector<unsigned> nmis = std::vector<unsigned>(LapicBus::max_lapics);
};

class RoutingTest : public testing::Test {
 protected:
  static constexpr unsigned count = LapicBus::max_lapics;
  static constexpr u8 vector = 0x50;

  RoutingTest() {
    for (VcpuId id = 0; id < count; ++id) {
      lapics.push_back(std::make_unique<Vlapic>(id, bus));
      EXPECT_TRUE(lapics[id]->msr_write(0x80f, 0x1ff, 0));
    }
  }
  /// The ids that got `vector` since the last call.
  std::vector<VcpuId> receivers() {
    std::vector<VcpuId> out;
    for (VcpuId id = 0; id < count; ++id) {
      if (lapics[id]->pending_vector() < 0) continue;
      lapics[id]->accept(vector);
      EXPECT_TRUE(lapics[id]->msr_write(0x80b, 0, 0));
      out.push_back(id);
    }
    return out;
  }
  void icr(VcpuId from, u32 destination, u32 low) {
    EXPECT_TRUE(lapics[from]->msr_write(0x830, u64{destination} << 32 | low, 0));
  }
  static LapicConfig config() {
    LapicConfig c;
    c.start_in_x2apic = true;
    return c;
  }

  CountingSink sink;
  LapicBus bus{sink, config()};
  std::vector<std::unique_ptr<Vlapic>> lapics;
};

using Ids = std::vector<VcpuId>;

TEST_F(RoutingTest, PhysicalIpisMsisAndIoApicMessagesReachEachIdAlone) {
  VioapicMmio ioapic(bus);
  for (VcpuId id = 0; id < count; id += id < 250 || id > 270 ? 13 : 1) {
    icr((id + 7) % count, id, vector);
    EXPECT_EQ(receivers(), Ids{id});
    bus.msi(0xfee0'0000 | (id & 0xff) << 12 | (id >> 8) << 5, vector);
    EXPECT_EQ(receivers(), Ids{id});
    ioapic.mmio_write(0, 4, 0x11 + 2 * 20, 0);
    ioapic.mmio_write(0x10, 4, (id & 0xff) << 24 | (id >> 8) << 17, 0);
    ioapic.mmio_write(0, 4, 0x10 + 2 * 20, 0);
    ioapic.mmio_write(0x10, 4, vector, 0);
    ioapic.pin(20).pulse();
    EXPECT_EQ(receivers(), Ids{id});
    const unsigned before = sink.nmis[id];
    icr(0, id, 0x400);
    EXPECT_EQ(sink.nmis[id], before + 1);
  }
}

TEST_F(RoutingTest, LogicalIdsAreTheClusterAndTheMember) {
  for (u32 cluster = 0; cluster < count / 16; ++cluster) {
    icr(3, cluster << 16 | 0x8005, 0x800 | vector);
    EXPECT_EQ(receivers(), (Ids{cluster * 16, cluster * 16 + 2, cluster * 16 + 15}));
  }
  icr(3, (count / 16) << 16 | 1, 0x800 | vector);
  EXPECT_EQ(receivers(), Ids{});
}

TEST_F(RoutingTest, LowestPriorityChoosesInOneClusterByTpr) {
  for (VcpuId id = 1008; id < 1024; ++id) lapics[id]->set_cr8(id == 1017 ? 2 : 4);
  icr(0, 63u << 16 | 0xffff, 0x900 | vector);
  EXPECT_EQ(receivers(), Ids{1017});
  lapics[1017]->set_cr8(4);
  lapics[1022]->set_cr8(1);
  icr(0, 63u << 16 | 0xffff, 0x900 | vector);
  EXPECT_EQ(receivers(), Ids{1022});
}

TEST_F(RoutingTest, BroadcastsAndShorthandsReachAll) {
  icr(1000, ~0u, vector);
  EXPECT_EQ(receivers().size(), count);
  icr(1000, 0, 0x80000 | vector);
  EXPECT_EQ(receivers().size(), count);
  icr(1000, 0, 0xc0000 | vector);
  const Ids others = receivers();
  EXPECT_EQ(others.size(), count - 1);
  EXPECT_EQ(std::count(others.begin(), others.end(), 1000u), 0);
  icr(1000, 0, 0x40000 | vector);
  EXPECT_EQ(receivers(), Ids{1000});
  icr(5, 1024, vector);  // nobody
  EXPECT_EQ(receivers(), Ids{});
}

}  // namespace
}  // namespace bhyve::intc
