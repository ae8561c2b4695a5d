#include "loader/long_mode.hpp"

#include <gtest/gtest.h>

#include <optional>

#include "base/bytes.hpp"

namespace bhyve::loader {
namespace {

/// Walks the tables as the CPU does (SDM vol. 3, 4.5.4).
std::optional<u64> walk(std::span<const u8> tables, u64 address) {
  u64 table = low_area::page_tables.value();
  for (unsigned shift = 39;; shift -= 9) {
    const u64 at = table - low_area::page_tables.value() + ((address >> shift) & 0x1ff) * 8;
    if (at + 8 > tables.size()) return std::nullopt;
    const u64 entry = load_le<u64>(tables, at);
    if ((entry & x86::pte::p) == 0 || (entry & x86::pte::rw) == 0) return std::nullopt;
    if (shift == 21) {
      if ((entry & x86::pte::ps) == 0) return std::nullopt;
      return (entry & x86::pte::frame) | (address & (superpage_size - 1));
    }
    table = entry & x86::pte::frame;
  }
}

TEST(IdentityMap, AtLeast4GiBIsMappedToItself) {
  const std::vector<u8> tables = make_identity_map(64 * MiB);
  for (const u64 a : {u64{0}, u64{0x12345}, 1 * GiB, 3 * GiB + 77, 4 * GiB - 1}) {
    EXPECT_EQ(walk(tables, a), a);
  }
  EXPECT_FALSE(walk(tables, 4 * GiB));
}

TEST(IdentityMap, HighMemoryIsMappedUpToTheLimit) {
  EXPECT_EQ(walk(make_identity_map(6 * GiB + 1), 7 * GiB - 1), 7 * GiB - 1);
  const std::vector<u8> all = make_identity_map(~u64{0});
  EXPECT_EQ(walk(all, identity_map_limit - 1), identity_map_limit - 1);
  EXPECT_FALSE(walk(all, identity_map_limit));
  EXPECT_LE((low_area::page_tables + all.size()).value(), low_area::command_line.value());
}

TEST(LongMode, StateAgreesWithTheDescriptorsInTheTable) {
  const EntryState state = make_long_mode_state();
  const std::vector<u8> gdt = make_flat_gdt();
  EXPECT_EQ(state.gdt.base, low_area::gdt.value());
  EXPECT_EQ(state.gdt.limit + usize{1}, gdt.size());
  for (const x86::Segment& s : {state.cs, state.ds, state.ss}) {
    const u64 descriptor = load_le<u64>(gdt, s.selector);
    // Access byte, then AVL, L, D/B and G: descriptor bits 40-47 and 52-55.
    EXPECT_EQ(s.access, ((descriptor >> 40) & 0xff) | ((descriptor >> 52) & 0xf) << 12);
    EXPECT_EQ(s.limit, 0xffff'ffffu);
    EXPECT_EQ(s.base, 0u);
  }
}

TEST(LongMode, ControlRegistersAreThoseOf64BitMode) {
  const EntryState state = make_long_mode_state();
  EXPECT_EQ(state.cr0 & (x86::cr0::pe | x86::cr0::pg), x86::cr0::pe | x86::cr0::pg);
  EXPECT_EQ(state.cr4, x86::cr4::pae);
  EXPECT_EQ(state.efer, x86::efer::lme | x86::efer::lma);
  EXPECT_TRUE(state.cs.access & x86::Segment::long_mode);
  EXPECT_FALSE(state.cs.access & x86::Segment::big) << "L and D/B exclude each other";
}

}  // namespace
}  // namespace bhyve::loader
