// The border between low memory and the hole for devices: every table and window has it where
// memory.lowmem_limit (vm_set_lowmem_limit()) puts it.
#include <cstring>

#include "board_fixture.hpp"
#include "platform/acpi.hpp"
#include "platform/e820.hpp"
#include "platform/layout.hpp"

namespace bhyve::machine {
namespace {

namespace layout = platform::layout;

class Card final : public bus::PciFunction, public bus::Mmio {
 public:
  explicit Card(bus::PciWiring wiring) : PciFunction(std::move(wiring), {0x1234, 0x5678, 0xff'0000}) {
    add_memory_bar(0, bus::PciBar::Kind::mem32, 64 * MiB, this);
    add_memory_bar(2, bus::PciBar::Kind::mem64, 256 * MiB, this);
  }
  ~Card() override { detach(); }
  u64 mmio_read(u64, unsigned, VcpuId) override { return 0xca4d; }
  void mmio_write(u64, unsigned, u64, VcpuId) override {}
  void start() override {}
  void pause() override {}
};

struct LowmemLimit : test::BoardTest, testing::WithParamInterface<u64> {
  static constexpr u64 size = 4 * GiB;
  void SetUp() override {
    Config tree;
    tree.set("name", "vm");
    tree.set("memory.size", "4G");
    tree.set("memory.lowmem_limit", std::to_string(GetParam()));
    const auto resolved = resolve(tree);
    ASSERT_TRUE(resolved) << resolved.error().message;
    machine = *resolved;
  }
  [[nodiscard]] u64 window() const { return std::max(GetParam(), u64{0xc000'0000}); }
};

TEST_P(LowmemLimit, SplitsMemory) {
  EXPECT_EQ(machine.lowmem, GetParam());
  EXPECT_EQ(machine.highmem, size - GetParam());
}

TEST_P(LowmemLimit, E820HasRamUpToItAndTheRestAbove4GiB) {
  u64 low_end = 0, high = 0, all = 0;
  for (const auto& e : platform::make_e820(machine.lowmem, machine.highmem)) {
    if (e.type != x86::E820Type::ram) continue;
    all += e.size;
    if (e.base >= 4 * GiB) high += e.size;
    else low_end = std::max(low_end, e.base + e.size);
  }
  EXPECT_EQ(low_end, GetParam());
  EXPECT_EQ(high, size - GetParam());
  EXPECT_GT(all, size - MiB);
}

TEST_P(LowmemLimit, TheDsdtsWindowBeginsBehindIt) {
  platform::AcpiConfig acpi;
  acpi.cpus.push_back({0, true});
  acpi.lowmem = machine.lowmem;
  acpi.highmem = machine.highmem;
  const auto tables = platform::make_acpi_tables(acpi);
  ASSERT_TRUE(tables);
  // DWordMemory: granularity 0, minimum, maximum.
  const u32 fields[] = {0, static_cast<u32>(window()),
                        static_cast<u32>(layout::pci_mmio32_end.value() - 1)};
  bool found = false;
  for (const auto& blob : tables->blobs)
    found |= ::memmem(blob.bytes.data(), blob.bytes.size(), fields, sizeof fields) != nullptr;
  EXPECT_TRUE(found);
}

TEST_P(LowmemLimit, BarsAreBehindItAndDecode) {
  config.lowmem = 2 * MiB;
  make(1);
  machine.pci.push_back({0, 0, 0, "hostbridge", "pci.0.0.0"});
  auto made = Board::create(*vm, loop, machine);
  ASSERT_TRUE(made) << made.error().message;
  board = std::move(*made);
  ASSERT_TRUE(board->add_function({0, 3, 0}, false, [](bus::PciWiring wiring) {
    return std::make_unique<Card>(std::move(wiring));
  }));
  const u64 low = config_read(3, 0x10) & ~0xfu;
  EXPECT_GE(low, window());
  EXPECT_LE(low + 64 * MiB, layout::pci_mmio32_end.value());
  EXPECT_EQ(fetch(low, 4), 0xca4du);
  const u64 high = (config_read(3, 0x18) & ~0xfu) | u64{config_read(3, 0x1c)} << 32;
  EXPECT_GE(high, 4 * GiB + machine.highmem);
  EXPECT_EQ(fetch(high, 4), 0xca4du);
}

INSTANTIATE_TEST_SUITE_P(Limits, LowmemLimit,
                         testing::Values(64 * MiB, 2 * GiB, 3 * GiB, layout::lowmem_limit_highest));

}  // namespace
}  // namespace bhyve::machine
