#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "bus/mmio_map.hpp"

namespace bhyve::bus {
namespace {

/// Notices accesses after its removal.
struct Mortal final : Mmio {
  std::atomic<bool> alive{false};
  std::atomic<int> late{0};
  u64 plain = 0;  // no lock: only the map's promise orders its reset by the remover
  std::atomic<u64> reads{0};
  u64 mmio_read(u64, unsigned, VcpuId) override {
    if (!alive) ++late;
    ++reads;
    return 1;
  }
  void mmio_write(u64, unsigned, u64 v, VcpuId) override { plain = v; }
};

TEST(MapConcurrency, NoAccessIsInFlightAfterRemoval) {
  MmioMap map;
  Mortal dev;
  std::atomic<bool> stop{false};
  std::atomic<u64> missed{0};
  std::vector<std::thread> readers;
  for (VcpuId id = 0; id < 3; ++id) {
    readers.emplace_back([&, id] {
      while (!stop) {
        u64 v = 0;
        if (!map.read(Gpa(0x1000), 4, id, v)) ++missed;
      }
    });
  }
  for (int i = 0; i < 500 || dev.reads == 0 || missed == 0; ++i) {
    dev.alive = true;
    ASSERT_TRUE(map.add(Gpa(0x1000), 0x1000, dev));
    std::this_thread::yield();
    ASSERT_TRUE(map.remove(Gpa(0x1000)));
    dev.alive = false;
    std::this_thread::yield();
  }
  stop = true;
  for (auto& t : readers) t.join();
  EXPECT_EQ(dev.late, 0);
}

TEST(MapConcurrency, RemovalIsOrderedAfterTheLastAccess) {
  MmioMap map;
  Mortal dev;
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    while (!stop) map.write(Gpa(0), 8, 0, 7);
  });
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(map.add(Gpa(0), 8, dev));
    std::this_thread::yield();
    ASSERT_TRUE(map.remove(Gpa(0)));
    dev.plain = 0;  // a data race, for TSan, if removal returned too early
    ASSERT_EQ(dev.plain, 0u);
  }
  stop = true;
  writer.join();
}

}  // namespace
}  // namespace bhyve::bus
