#include "platform/acpi.hpp"

#include <gtest/gtest.h>

#include "platform/layout.hpp"
#include "table_checks.hpp"

namespace bhyve::platform {
namespace {

AcpiTables tables_of(const AcpiConfig& config) {
  Result<AcpiTables> tables = make_acpi_tables(config);
  EXPECT_TRUE(tables) << tables.error().message;
  return tables.value_or(AcpiTables{});
}

/// Entries of a MADT of one type.
std::vector<std::span<const u8>> madt_entries(std::span<const u8> madt, u8 type) {
  std::vector<std::span<const u8>> found;
  for (usize at = 44; at < madt.size(); at += madt[at + 1]) {
    if (madt[at + 1] < 2 || at + madt[at + 1] > madt.size()) {
      ADD_FAILURE() << "entry at " << at << " has length " << unsigned{madt[at + 1]};
      break;
    }
    if (madt[at] == type) found.push_back(madt.subspan(at, madt[at + 1]));
  }
  return found;
}

TEST(AcpiTables, EveryTableHasItsLengthAndChecksum) {
  for (const GuestBlob& blob : tables_of(full_config()).blobs) {
    const std::string signature = text_at(blob.bytes, 0, 4);
    if (signature == "RSD ") continue;
    EXPECT_EQ(load_le<u32>(blob.bytes, 4), blob.bytes.size()) << signature;
    if (signature == "FACS") continue;
    EXPECT_EQ(byte_sum(blob.bytes), 0) << signature;
    EXPECT_EQ(text_at(blob.bytes, 10, 6), "BHYVE ") << signature;
    EXPECT_EQ(text_at(blob.bytes, 16, 8), "BV" + signature + "  ");
  }
}

TEST(AcpiTables, TheyAreAlignedDisjointAndBelow1MiB) {
  Gpa end = layout::acpi;
  for (const GuestBlob& blob : tables_of(full_config()).blobs) {
    EXPECT_GE(blob.address, end);
    EXPECT_EQ(blob.address.value() % 64, 0u);
    end = blob.address + blob.bytes.size();
  }
  EXPECT_LE(end, Gpa(MiB));
}

TEST(AcpiTables, RsdpPointsToRootTablesWithBothChecksums) {
  const AcpiTables tables = tables_of(full_config());
  const GuestBlob* rsdp = blob_at(tables, tables.rsdp.value());
  ASSERT_NE(rsdp, nullptr);
  EXPECT_EQ(text_at(rsdp->bytes, 0, 8), "RSD PTR ");
  EXPECT_EQ(rsdp->bytes.size(), 36u);
  EXPECT_EQ(byte_sum(std::span(rsdp->bytes).first(20)), 0);
  EXPECT_EQ(byte_sum(rsdp->bytes), 0);
  EXPECT_EQ(rsdp->address.value() % 16, 0u) << "found by a scan on 16-byte borders";
  const GuestBlob* rsdt = blob_at(tables, load_le<u32>(rsdp->bytes, 16));
  const GuestBlob* xsdt = blob_at(tables, load_le<u64>(rsdp->bytes, 24));
  ASSERT_TRUE(rsdt != nullptr && xsdt != nullptr);
  EXPECT_EQ(text_at(rsdt->bytes, 0, 4), "RSDT");
  EXPECT_EQ(text_at(xsdt->bytes, 0, 4), "XSDT");
}

TEST(AcpiTables, XsdtAndRsdtListTheSameExistingTables) {
  const AcpiTables tables = tables_of(full_config());
  const auto xsdt = find_table(tables, "XSDT");
  const auto rsdt = find_table(tables, "RSDT");
  std::vector<std::string> names;
  for (usize i = 0; 36 + 8 * i < xsdt.size(); ++i) {
    const u64 address = load_le<u64>(xsdt, 36 + 8 * i);
    EXPECT_EQ(load_le<u32>(rsdt, 36 + 4 * i), address);
    const GuestBlob* blob = blob_at(tables, address);
    ASSERT_NE(blob, nullptr);
    names.push_back(text_at(blob->bytes, 0, 4));
  }
  EXPECT_EQ(names, (std::vector<std::string>{"FACP", "APIC", "HPET", "MCFG", "SPCR"}));
}

TEST(AcpiTables, AbsentHpetAndUartsHaveNoTable) {
  AcpiConfig config = full_config();
  config.hpet = false;
  config.uarts = {false, true, false, false};
  const AcpiTables tables = tables_of(config);
  EXPECT_TRUE(find_table(tables, "HPET").empty());
  EXPECT_TRUE(find_table(tables, "SPCR").empty());
}

TEST(AcpiFadt, RegistersAreAtTheirPortsInBothForms) {
  const AcpiTables tables = tables_of(full_config());
  const auto t = find_table(tables, "FACP");
  ASSERT_EQ(t.size(), 268u);
  EXPECT_EQ(load_le<u16>(t, 46), 9);        // SCI
  EXPECT_EQ(load_le<u32>(t, 48), 0xb2u);    // SMI_CMD
  EXPECT_EQ(t[52], 0xa0);                   // ACPI_ENABLE
  EXPECT_EQ(t[53], 0xa1);                   // ACPI_DISABLE
  const struct { usize port, length, extended; u16 expected; } blocks[] = {
      {56, 88, 148, 0x400}, {64, 89, 172, 0x404}, {76, 91, 208, 0x408}, {80, 92, 220, 0x40c}};
  for (const auto& b : blocks) {
    EXPECT_EQ(load_le<u32>(t, b.port), b.expected);
    EXPECT_EQ(t[b.extended], 1) << "system I/O";
    EXPECT_EQ(t[b.extended + 1], 8 * t[b.length]);
    EXPECT_EQ(load_le<u64>(t, b.extended + 4), b.expected);
  }
}

TEST(AcpiFadt, ResetIsSixToCf9AndFlagsAreBhyves) {
  const AcpiTables tables = tables_of(full_config());
  const auto t = find_table(tables, "FACP");
  EXPECT_EQ(load_le<u64>(t, 116 + 4), 0xcf9u);
  EXPECT_EQ(t[128], 6);
  EXPECT_EQ(load_le<u32>(t, 112), 0x0008'1525u);
  EXPECT_EQ(load_le<u16>(t, 109), 0x0017);  // legacy devices, 8042, no VGA, no ASPM
}

TEST(AcpiFadt, PointsToFacsAndDsdt) {
  const AcpiTables tables = tables_of(full_config());
  const auto t = find_table(tables, "FACP");
  const GuestBlob* facs = blob_at(tables, load_le<u32>(t, 36));
  const GuestBlob* dsdt = blob_at(tables, load_le<u32>(t, 40));
  ASSERT_TRUE(facs != nullptr && dsdt != nullptr);
  EXPECT_EQ(text_at(facs->bytes, 0, 4), "FACS");
  EXPECT_EQ(text_at(dsdt->bytes, 0, 4), "DSDT");
  EXPECT_EQ(load_le<u64>(t, 140), dsdt->address.value());
  EXPECT_EQ(load_le<u64>(t, 132), 0u) << "X_FIRMWARE_CTRL must not disagree";
}

TEST(AcpiMadt, ListsOneLocalApicPerCpuAndDisablesAbsentOnes) {
  AcpiConfig config = full_config(3);
  config.cpus[2].present = false;
  const AcpiTables tables = tables_of(config);
  const auto cpus = madt_entries(find_table(tables, "APIC"), 0);
  ASSERT_EQ(cpus.size(), 3u);
  for (u8 i = 0; i < 3; ++i) {
    EXPECT_EQ(cpus[i][2], i);
    EXPECT_EQ(cpus[i][3], i);
    EXPECT_EQ(load_le<u32>(cpus[i], 4), i < 2 ? 1u : 0u);
  }
}

TEST(AcpiMadt, IdsAbove254GetX2apicEntries) {
  const AcpiTables tables = tables_of(full_config(1024));
  const auto madt = find_table(tables, "APIC");
  EXPECT_EQ(madt_entries(madt, 0).size(), 255u);
  const auto big = madt_entries(madt, 9);
  ASSERT_EQ(big.size(), 769u);
  EXPECT_EQ(big[0].size(), 16u);
  EXPECT_EQ(load_le<u32>(big[0], 4), 255u);
  EXPECT_EQ(load_le<u32>(big[768], 4), 1023u);
  EXPECT_EQ(madt_entries(madt, 10).size(), 1u) << "NMI of the x2APICs";
}

TEST(AcpiMadt, OverridesRouteThePitToPin2AndMakeTheSciLevelLow) {
  const AcpiTables tables = tables_of(full_config());
  const auto overrides = madt_entries(find_table(tables, "APIC"), 2);
  ASSERT_EQ(overrides.size(), 2u);
  EXPECT_EQ(overrides[0][3], 0);
  EXPECT_EQ(load_le<u32>(overrides[0], 4), 2u);
  EXPECT_EQ(overrides[1][3], 9);
  EXPECT_EQ(load_le<u32>(overrides[1], 4), 9u);
  EXPECT_EQ(load_le<u16>(overrides[1], 8), 0xf);
}

TEST(AcpiMadt, NmiIsOnLint1OfEveryCpu) {
  const AcpiTables tables = tables_of(full_config());
  const auto nmi = madt_entries(find_table(tables, "APIC"), 4);
  ASSERT_EQ(nmi.size(), 1u);
  EXPECT_EQ(nmi[0][2], 0xff);
  EXPECT_EQ(nmi[0][5], 1);
}

TEST(AcpiMcfg, CoversAllBusesOfTheEcamWindow) {
  const AcpiTables tables = tables_of(full_config());
  const auto t = find_table(tables, "MCFG");
  ASSERT_EQ(t.size(), 60u);
  EXPECT_EQ(load_le<u64>(t, 44), 0xe000'0000u);
  EXPECT_EQ(t[54], 0);
  EXPECT_EQ(t[55], 0xff);
}

TEST(AcpiHpet, GivesTheChipsAddressAndCapabilityWord) {
  const AcpiTables tables = tables_of(full_config());
  const auto t = find_table(tables, "HPET");
  ASSERT_EQ(t.size(), 56u);
  EXPECT_EQ(load_le<u32>(t, 36), 0x8086'0701u);
  EXPECT_EQ(load_le<u64>(t, 44), 0xfed0'0000u);
}

TEST(AcpiTables, NoCpuOrTooManyIsAnError) {
  EXPECT_EQ(make_acpi_tables(full_config(0)).error().code, EINVAL);
  EXPECT_EQ(make_acpi_tables(full_config(1025)).error().code, EINVAL);
}

}  // namespace
}  // namespace bhyve::platform
