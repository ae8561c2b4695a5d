// Walks the MADT and the MP table by their own lengths and checks that every entry is well formed and
// that both tables describe one machine.
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <tuple>

#include "platform/acpi.hpp"
#include "platform/layout.hpp"
#include "platform/mptable.hpp"
#include "table_checks.hpp"

namespace bhyve::platform {
namespace {

/// What a table says of the interrupt hardware.
struct Description final {
  std::set<u32> cpus;                      ///< ids of the enabled local APICs
  u32 lapic = 0;                           ///< address of the page
  std::map<u32, u32> ioapics;              ///< id -> address
  std::map<unsigned, unsigned> isa_pins;   ///< IRQ -> input of the I/O APIC, where it is not its own
  std::set<std::tuple<unsigned, u32>> nmi; ///< LINT number, APIC id (FFh all)
};

/// Entry types that a MADT may have, with their lengths (ACPI 6.4, 5.2.12).
const std::map<unsigned, usize> madt_lengths = {{0, 8}, {1, 12}, {2, 10}, {4, 6}, {9, 16}, {10, 12}};

void read_madt_entry(std::span<const u8> e, Description& out) {
  switch (e[0]) {
    case 0:
      if (e[4] & 1) {
        EXPECT_TRUE(out.cpus.insert(e[3]).second) << "id " << unsigned{e[3]} << " twice";
      }
      break;
    case 9:
      EXPECT_GT(load_le<u32>(e, 4), 254u) << "an id that fits has a local APIC entry";
      if (e[8] & 1) {
        EXPECT_TRUE(out.cpus.insert(load_le<u32>(e, 4)).second);
      }
      break;
    case 1:
      EXPECT_EQ(load_le<u32>(e, 8), 0u) << "the one I/O APIC begins at GSI 0";
      out.ioapics[e[2]] = load_le<u32>(e, 4);
      break;
    case 2:
      EXPECT_EQ(e[2], 0) << "overrides are of ISA interrupts";
      if (e[3] != load_le<u32>(e, 4)) out.isa_pins[e[3]] = load_le<u32>(e, 4);
      break;
    case 4:
      out.nmi.insert({e[5], e[2]});
      break;
    default:
      break;
  }
}

Description read_madt(std::span<const u8> t) {
  Description out;
  EXPECT_EQ(byte_sum(t), 0);
  EXPECT_EQ(load_le<u32>(t, 4), t.size());
  out.lapic = load_le<u32>(t, 36);
  EXPECT_EQ(load_le<u32>(t, 40), 1u) << "there is a PIC pair as well";
  usize at = 44;
  while (at + 2 <= t.size()) {
    const auto known = madt_lengths.find(t[at]);
    if (known == madt_lengths.end() || known->second != t[at + 1] || at + t[at + 1] > t.size()) {
      ADD_FAILURE() << "entry of type " << unsigned{t[at]} << " at " << at;
      return out;
    }
    read_madt_entry(t.subspan(at, t[at + 1]), out);
    at += t[at + 1];
  }
  EXPECT_EQ(at, t.size());
  return out;
}

/// Buses by id, and what an interrupt entry may refer to.
struct MpBuses final {
  std::map<unsigned, std::string> names;
  [[nodiscard]] bool is_isa(unsigned id) const {
    const auto bus = names.find(id);
    return bus != names.end() && bus->second == "ISA   ";
  }
};

void read_mp_interrupt(std::span<const u8> e, const MpBuses& buses, Description& out) {
  EXPECT_TRUE(buses.names.contains(e[4])) << "of a bus that is not there";
  EXPECT_LE(e[1], 3) << "interrupt type";
  if (e[0] == 3) {
    EXPECT_TRUE(out.ioapics.contains(e[6])) << "to an I/O APIC that is not there";
    EXPECT_LT(e[7], 32) << "input of the I/O APIC";
    if (e[1] == 0 && buses.is_isa(e[4]) && e[5] != e[7]) out.isa_pins[e[5]] = e[7];
    return;
  }
  EXPECT_LE(e[7], 1) << "LINT0 or LINT1";
  if (e[1] == 1) out.nmi.insert({e[7], e[6]});
  if (e[1] == 3) {
    EXPECT_EQ(e[7], 0) << "ExtINT is on LINT0";
  }
}

Description read_mptable(std::span<const u8> blob) {
  Description out;
  EXPECT_EQ(byte_sum(blob.first(16)), 0);
  const auto t = blob.subspan(16);
  EXPECT_EQ(load_le<u16>(t, 4), t.size());
  EXPECT_EQ(byte_sum(t), 0);
  out.lapic = load_le<u32>(t, 36);
  MpBuses buses;
  usize at = 44;
  unsigned last_type = 0, boot_cpus = 0;
  for (unsigned n = load_le<u16>(t, 34); n > 0; --n) {
    const usize size = t[at] == 0 ? 20 : 8;
    if (t[at] > 4 || at + size > t.size()) {
      ADD_FAILURE() << "entry of type " << unsigned{t[at]} << " at " << at;
      return out;
    }
    const auto e = t.subspan(at, size);
    EXPECT_GE(e[0], last_type) << "entries are in order of their types";
    last_type = e[0];
    if (e[0] == 0 && e[3] & 1) {
      EXPECT_TRUE(out.cpus.insert(e[1]).second);
      boot_cpus += e[3] >> 1 & 1;
    }
    if (e[0] == 1) buses.names[e[1]] = text_at(e, 2, 6);
    if (e[0] == 2) out.ioapics[e[1]] = load_le<u32>(e, 4);
    if (e[0] >= 3) read_mp_interrupt(e, buses, out);
    at += size;
  }
  EXPECT_EQ(at, t.size());
  EXPECT_EQ(boot_cpus, 1u);
  return out;
}

class TablesAgree : public testing::TestWithParam<unsigned> {};

TEST_P(TablesAgree, BothAreWellFormedAndDescribeOneMachine) {
  const unsigned cpus = GetParam();
  MpTableConfig config;
  for (u32 id = 0; id < cpus; ++id) config.apic_ids.push_back(id);
  config.pci_slots = {1, 5, 30};
  const auto mp = make_mptable(config);
  ASSERT_TRUE(mp) << mp.error().message;
  const auto acpi = make_acpi_tables(full_config(cpus));
  ASSERT_TRUE(acpi) << acpi.error().message;
  const Description a = read_madt(find_table(*acpi, "APIC"));
  const Description b = read_mptable(mp->bytes);
  EXPECT_EQ(a.cpus.size(), cpus);
  EXPECT_EQ(a.cpus, b.cpus);
  EXPECT_EQ(a.lapic, b.lapic);
  EXPECT_EQ(a.ioapics, b.ioapics);
  EXPECT_EQ(a.isa_pins, b.isa_pins);
  EXPECT_EQ(a.nmi, b.nmi);
  EXPECT_EQ(b.nmi, (std::set<std::tuple<unsigned, u32>>{{1, 0xff}}));
  EXPECT_EQ(a.ioapics, (std::map<u32, u32>{{0, static_cast<u32>(layout::ioapic.value())}}));
}
INSTANTIATE_TEST_SUITE_P(Sizes, TablesAgree, testing::Values(1, 2, 4, 16, 64));

TEST(BigMadt, TheMadtOfABigMachineIsWellFormed) {
  const auto acpi = make_acpi_tables(full_config(1024));
  ASSERT_TRUE(acpi) << acpi.error().message;
  EXPECT_EQ(read_madt(find_table(*acpi, "APIC")).cpus.size(), 1024u);
}

}  // namespace
}  // namespace bhyve::platform
