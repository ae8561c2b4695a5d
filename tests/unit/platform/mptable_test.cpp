#include "platform/mptable.hpp"

#include <gtest/gtest.h>

#include <map>

#include "platform/layout.hpp"
#include "platform/pci_routing.hpp"
#include "table_checks.hpp"

namespace bhyve::platform {
namespace {

MpTableConfig config_of(unsigned cpus) {
  MpTableConfig config;
  for (u32 i = 0; i < cpus; ++i) config.apic_ids.push_back(i);
  config.pci_slots = {2, 3, 31};
  return config;
}

std::vector<std::span<const u8>> entries_of(std::span<const u8> table, u8 type) {
  std::vector<std::span<const u8>> found;
  usize at = 16 + 44;
  for (unsigned i = load_le<u16>(table, 16 + 34); i > 0; --i) {
    const usize size = table[at] == 0 ? 20 : 8;
    if (table[at] == type) found.push_back(table.subspan(at, size));
    at += size;
  }
  EXPECT_EQ(at, table.size()) << "the entry count and the length must agree";
  return found;
}

TEST(MpTable, PointerAndHeaderAreFoundAndSumToZero) {
  const GuestBlob blob = make_mptable(config_of(4)).value();
  const std::span<const u8> t = blob.bytes;
  EXPECT_EQ(blob.address, layout::mptable);
  EXPECT_EQ(text_at(t, 0, 4), "_MP_");
  EXPECT_EQ(load_le<u32>(t, 4), 0xf'0010u);
  EXPECT_EQ(byte_sum(t.first(16)), 0);
  EXPECT_EQ(text_at(t, 16, 4), "PCMP");
  EXPECT_EQ(load_le<u16>(t, 20), t.size() - 16);
  EXPECT_EQ(byte_sum(t.subspan(16)), 0);
  EXPECT_EQ(text_at(t, 24, 20), "BHyVe   Hypervisor  ");
}

TEST(MpTable, OnlyTheFirstCpuIsTheBootstrapProcessor) {
  const GuestBlob blob = make_mptable(config_of(3)).value();
  const auto cpus = entries_of(blob.bytes, 0);
  ASSERT_EQ(cpus.size(), 3u);
  EXPECT_EQ(cpus[0][3], 3);
  EXPECT_EQ(cpus[1][3], 1);
  EXPECT_EQ(cpus[2][1], 2);
}

TEST(MpTable, IsaInterruptsHaveTheRightPins) {
  const GuestBlob blob = make_mptable(config_of(1)).value();
  std::map<u8, std::span<const u8>> by_pin;
  for (const auto& e : entries_of(blob.bytes, 3)) {
    if (e[4] == 1) by_pin[e[7]] = e;
  }
  ASSERT_EQ(by_pin.size(), 16u);
  EXPECT_EQ(by_pin[0][1], 3) << "ExtINT on pin 0";
  EXPECT_EQ(by_pin[2][5], 0) << "IRQ 0 on pin 2";
  EXPECT_EQ(by_pin[4][5], 4);
  EXPECT_EQ(load_le<u16>(by_pin[9], 2), 0xf) << "SCI is level, active low";
}

TEST(MpTable, PciInterruptsAgreeWithTheRouting) {
  const GuestBlob blob = make_mptable(config_of(1)).value();
  unsigned count = 0;
  for (const auto& e : entries_of(blob.bytes, 3)) {
    if (e[4] != 0) continue;
    EXPECT_EQ(e[7], ioapic_pin_for(e[5] >> 2, (e[5] & 3) + 1u));
    ++count;
  }
  EXPECT_EQ(count, 12u);
}

TEST(MpTable, Lint0IsExtIntAndLint1IsNmiForAllCpus) {
  const GuestBlob blob = make_mptable(config_of(2)).value();
  const auto lints = entries_of(blob.bytes, 4);
  ASSERT_EQ(lints.size(), 2u);
  EXPECT_EQ(lints[0][1], 3);
  EXPECT_EQ(lints[0][7], 0);
  EXPECT_EQ(lints[1][1], 1);
  EXPECT_EQ(lints[1][7], 1);
  EXPECT_EQ(lints[1][6], 0xff);
}

TEST(MpTable, TooManyCpusIsAnErrorThatNamesTheWayOut) {
  const Result<GuestBlob> many = make_mptable(config_of(250));
  ASSERT_FALSE(many);
  EXPECT_EQ(many.error().code, E2BIG);
  EXPECT_NE(many.error().message.find("-Y"), std::string::npos);
  EXPECT_FALSE(make_mptable(config_of(300)));
}

}  // namespace
}  // namespace bhyve::platform
