#include "platform/smbios.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <utility>

#include "platform/layout.hpp"
#include "table_checks.hpp"

namespace bhyve::platform {
namespace {

struct Parsed {
  std::span<const u8> fields;
  std::vector<std::string> strings;
  [[nodiscard]] std::string string(usize field) const {
    return fields[field] == 0 ? "" : strings.at(fields[field] - 1u);
  }
};

/// Splits the table as DSP0134, 6.1.3 says.
std::vector<Parsed> parse(std::span<const u8> table) {
  std::vector<Parsed> found;
  usize at = 0;
  while (at < table.size()) {
    Parsed p{table.subspan(at, table[at + 1]), {}};
    at += table[at + 1];
    std::string s;
    for (; table[at] != 0 || !s.empty(); ++at) {
      if (table[at] != 0) {
        s += static_cast<char>(table[at]);
      } else {
        p.strings.push_back(std::exchange(s, {}));
      }
    }
    at += p.strings.empty() ? 2 : 1;
    found.push_back(p);
  }
  EXPECT_EQ(at, table.size());
  return found;
}

SmbiosConfig config_of(unsigned sockets) {
  SmbiosConfig config;
  config.uuid = uuid_from_name("vm");
  config.sockets = sockets;
  config.lowmem = 3 * GiB;
  config.highmem = 1 * GiB;
  return config;
}

TEST(Smbios, EntryPointHasBothChecksumsAndDescribesTheTable) {
  const std::vector<GuestBlob> blobs = make_smbios(config_of(1)).value();
  ASSERT_EQ(blobs.size(), 2u);
  const std::span<const u8> e = blobs[0].bytes;
  EXPECT_EQ(blobs[0].address, layout::smbios);
  EXPECT_EQ(text_at(e, 0, 4), "_SM_");
  EXPECT_EQ(e.size(), e[5]);
  EXPECT_EQ(byte_sum(e), 0);
  EXPECT_EQ(text_at(e, 0x10, 5), "_DMI_");
  EXPECT_EQ(byte_sum(e.subspan(0x10)), 0);
  EXPECT_EQ(load_le<u16>(e, 0x16), blobs[1].bytes.size());
  EXPECT_EQ(load_le<u32>(e, 0x18), blobs[1].address.value());
  EXPECT_EQ(load_le<u16>(e, 0x1c), parse(blobs[1].bytes).size());
}

TEST(Smbios, StructuresAreTheExpectedTypesInOrderWithUniqueHandles) {
  const std::vector<GuestBlob> blobs = make_smbios(config_of(2)).value();
  std::vector<unsigned> types;
  std::set<u16> handles;
  for (const Parsed& p : parse(blobs[1].bytes)) {
    types.push_back(p.fields[0]);
    EXPECT_TRUE(handles.insert(load_le<u16>(p.fields, 2)).second);
  }
  EXPECT_EQ(types, (std::vector<unsigned>{0, 1, 2, 3, 4, 4, 16, 17, 19, 19, 32, 127}));
}

TEST(Smbios, StructuresHaveTheLengthsOfVersion27) {
  const std::vector<GuestBlob> blobs = make_smbios(config_of(1)).value();
  const std::map<unsigned, usize> lengths{{0, 0x18}, {1, 0x1b}, {2, 0x0f}, {3, 0x16}, {4, 0x2a},
                                          {16, 0x17}, {17, 0x22}, {19, 0x1f}, {32, 0x0b}, {127, 4}};
  for (const Parsed& p : parse(blobs[1].bytes)) {
    EXPECT_EQ(p.fields.size(), lengths.at(p.fields[0])) << "type " << unsigned{p.fields[0]};
  }
}

TEST(Smbios, SystemCarriesNamesAndTheUuidInItsMixedOrder) {
  const SmbiosConfig config = config_of(1);
  const std::vector<GuestBlob> blobs = make_smbios(config).value();
  const Parsed system = parse(blobs[1].bytes)[1];
  EXPECT_EQ(system.string(4), "FreeBSD");
  EXPECT_EQ(system.string(5), "BHYVE");
  EXPECT_EQ(system.string(0x1a), "Virtual Machine");
  EXPECT_EQ(system.fields[8], config.uuid[3]);
  EXPECT_EQ(system.fields[8 + 15], config.uuid[15]);
}

TEST(Smbios, MemoryRangesAreBelowAndAbove4GiB) {
  const std::vector<GuestBlob> blobs = make_smbios(config_of(1)).value();
  const std::vector<Parsed> all = parse(blobs[1].bytes);
  EXPECT_EQ(load_le<u16>(all[6].fields, 0x0c), 4096u) << "DIMM of 4096 MiB";
  EXPECT_EQ(load_le<u32>(all[7].fields, 8), 3 * MiB - 1) << "last KiB of low memory";
  EXPECT_EQ(load_le<u32>(all[8].fields, 4), 4 * MiB) << "first KiB of high memory";
}

TEST(Smbios, A1024SocketTableMovesToTheBiosAreaAndFits) {
  const Result<std::vector<GuestBlob>> blobs = make_smbios(config_of(1024));
  ASSERT_TRUE(blobs) << blobs.error().message;
  const GuestBlob& table = (*blobs)[1];
  EXPECT_EQ(table.address, layout::bios_area);
  EXPECT_LE(table.address + table.bytes.size(), layout::mptable);
}

TEST(Smbios, TooLongATableIsAnError) {
  SmbiosConfig config = config_of(1);
  config.system_sku = std::string(70000, 'x');
  EXPECT_EQ(make_smbios(config).error().code, E2BIG);
}

TEST(Smbios, EmptyStringsAreStringNumberZero) {
  SmbiosConfig config = config_of(1);
  config.bios_vendor = "";
  const std::vector<GuestBlob> blobs = make_smbios(config).value();
  const Parsed bios = parse(blobs[1].bytes)[0];
  EXPECT_EQ(bios.fields[4], 0);
  EXPECT_EQ(bios.string(5), "14.0");
}

}  // namespace
}  // namespace bhyve::platform
