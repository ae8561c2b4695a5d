#include "platform/acpi_loader.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "table_checks.hpp"

namespace bhyve::platform {
namespace {

/// What firmware does with the script: places each file and carries out the commands.
class Firmware final {
 public:
  explicit Firmware(std::vector<std::pair<std::string, std::vector<u8>>> files) {
    for (auto& [name, bytes] : files) files_[name] = std::move(bytes);
  }
  void run() {
    const std::vector<u8> script = files_.at("etc/table-loader");
    ASSERT_EQ(script.size() % 128, 0u);
    for (usize at = 0; at < script.size(); at += 128) execute(std::span(script).subspan(at, 128));
  }
  std::vector<u8>& file(const std::string& name) { return files_.at(name); }
  u64 address(const std::string& name) const { return addresses_.at(name); }

 private:
  static std::string text(std::span<const u8> c, usize at) {
    return reinterpret_cast<const char*>(c.data() + at);
  }
  void execute(std::span<const u8> c) {
    const std::string name = text(c, 4);
    ASSERT_TRUE(files_.contains(name)) << name;
    switch (load_le<u32>(c, 0)) {
      case 1:
        EXPECT_TRUE(addresses_.emplace(name, next_).second) << "placed twice";
        EXPECT_EQ(next_ % load_le<u32>(c, 60), 0u);
        next_ += 0x10'0000;
        break;
      case 2: {
        const std::string source = text(c, 60);
        const usize at = load_le<u32>(c, 116), size = c[120];
        u64 value = 0;
        ASSERT_LE(at + size, file(name).size());
        std::memcpy(&value, file(name).data() + at, size);
        ASSERT_LT(value, file(source).size());
        value += address(source);
        std::memcpy(file(name).data() + at, &value, size);
        break;
      }
      case 3: {
        const usize at = load_le<u32>(c, 60), start = load_le<u32>(c, 64), length = load_le<u32>(c, 68);
        ASSERT_LE(start + length, file(name).size());
        EXPECT_EQ(file(name)[at], 0);
        u8 sum = 0;
        for (usize i = start; i < start + length; ++i) sum = static_cast<u8>(sum + file(name)[i]);
        file(name)[at] = static_cast<u8>(-sum);
        break;
      }
      default: FAIL() << "command " << load_le<u32>(c, 0);
    }
  }
  std::map<std::string, std::vector<u8>> files_;
  std::map<std::string, u64> addresses_;
  u64 next_ = 0x7f00'0000;
};

TEST(AcpiLoader, ScriptMakesTablesThatHangTogether) {
  AcpiConfig config;
  for (u32 id = 0; id < 4; ++id) config.cpus.push_back({id, true});
  config.lowmem = 3 * GiB;
  config.uarts[0] = true;
  const auto tables = make_acpi_tables(config);
  ASSERT_TRUE(tables);
  Firmware firmware(make_acpi_files(*tables));
  firmware.run();
  const std::span<const u8> rsdp = firmware.file("etc/acpi/rsdp");
  EXPECT_EQ(byte_sum(rsdp), 0);
  EXPECT_EQ(byte_sum(rsdp.first(20)), 0);
  const std::span<const u8> all = firmware.file("etc/acpi/tables");
  const u64 base = firmware.address("etc/acpi/tables");
  const auto table_at = [&](u64 address) {
    const usize at = address - base;
    return all.subspan(at, load_le<u32>(all, at + 4));
  };
  std::map<std::string, std::span<const u8>> found;
  const auto xsdt = table_at(load_le<u64>(rsdp, 24)), rsdt = table_at(load_le<u32>(rsdp, 16));
  EXPECT_EQ(byte_sum(xsdt), 0);
  EXPECT_EQ(byte_sum(rsdt), 0);
  for (usize n = 0; 36 + 8 * n < xsdt.size(); ++n) {
    const u64 address = load_le<u64>(xsdt, 36 + 8 * n);
    EXPECT_EQ(address, load_le<u32>(rsdt, 36 + 4 * n));
    const auto table = table_at(address);
    EXPECT_EQ(byte_sum(table), 0);
    found[std::string(reinterpret_cast<const char*>(table.data()), 4)] = table;
  }
  for (const char* name : {"FACP", "APIC", "HPET", "MCFG", "SPCR"}) EXPECT_TRUE(found.contains(name)) << name;
  const auto dsdt = table_at(load_le<u32>(found["FACP"], 40));
  EXPECT_EQ(std::memcmp(dsdt.data(), "DSDT", 4), 0);
  EXPECT_EQ(byte_sum(dsdt), 0);
  const usize facs = load_le<u32>(found["FACP"], 36) - base;
  EXPECT_EQ(std::memcmp(all.data() + facs, "FACS", 4), 0);
  EXPECT_EQ((base + facs) % 64, 0u);
}

}  // namespace
}  // namespace bhyve::platform
