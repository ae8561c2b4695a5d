#include "machine/firmware_items.hpp"

#include <gtest/gtest.h>

#include <fstream>

namespace bhyve::machine {
namespace {

using platform::FwCfg;

u64 number(FwCfg& cfg, u16 key, unsigned size) {
  u64 value = 0;
  cfg.select(key);
  for (unsigned i = 0; i < size; ++i) value |= u64{cfg.next_byte()} << (8 * i);
  return value;
}

TEST(FirmwareItems, NumbersAreTheMachines) {
  MachineConfig config;
  config.vcpus = 3;
  config.memory = config.lowmem = 512 * MiB;
  auto items = make_firmware_items(config, 31);
  ASSERT_TRUE(items) << items.error().message;
  EXPECT_EQ(number(*items, FwCfg::key_cpus, 2), 3u);
  EXPECT_EQ(number(*items, FwCfg::key_max_cpus, 2), 3u);
  EXPECT_EQ(number(*items, FwCfg::key_ram_size, 8), 512 * MiB);
  const auto* map = items->file("etc/e820");
  ASSERT_NE(map, nullptr);
  EXPECT_EQ(map->size() % 20, 0u);
  EXPECT_EQ((*map)[16], 1);  // the first range is memory
}

TEST(FirmwareItems, TablesComeWithTheScriptThatPlacesThem) {
  MachineConfig config;
  config.acpi = true;
  const auto items = make_firmware_items(config, 31);
  ASSERT_TRUE(items) << items.error().message;
  for (const char* name : {"etc/acpi/rsdp", "etc/acpi/tables", "etc/table-loader",
                           "etc/smbios/smbios-anchor", "etc/smbios/smbios-tables"})
    EXPECT_NE(items->file(name), nullptr) << name;
  config.acpi = false;
  EXPECT_EQ(make_firmware_items(config, 31)->file("etc/acpi/rsdp"), nullptr);
}

TEST(FirmwareItems, TextAndFilesBecomeItems) {
  const std::string path = testing::TempDir() + "bhyve-firmware-item";
  std::ofstream(path, std::ios::binary) << std::string("a\0\xff", 3);
  MachineConfig config;
  config.firmware_items = {{"opt/text", "hello", false}, {"opt/file", path, true}};
  const auto items = make_firmware_items(config, 31);
  ASSERT_TRUE(items) << items.error().message;
  EXPECT_EQ(*items->file("opt/text"), (std::vector<u8>{'h', 'e', 'l', 'l', 'o'}));
  EXPECT_EQ(*items->file("opt/file"), (std::vector<u8>{'a', 0, 0xff}));
  std::remove(path.c_str());
}

TEST(FirmwareItems, TwiceTheSameNameIsRefusedByName) {
  MachineConfig config;
  config.firmware_items = {{"opt/x", "1", false}, {"opt/x", "2", false}};
  const auto items = make_firmware_items(config, 31);
  ASSERT_FALSE(items);
  EXPECT_EQ(items.error().message, "-f opt/x: firmware item 'opt/x' is there already");
}

}  // namespace
}  // namespace bhyve::machine
