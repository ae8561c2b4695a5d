#include "loader/long_mode.hpp"

#include <algorithm>
#include <array>

#include "base/bits.hpp"
#include "base/bytes.hpp"

namespace bhyve::loader {
namespace {

constexpr u64 entries_per_table = page_size / sizeof(u64);
constexpr u16 code_selector = 0x10, data_selector = 0x18;
constexpr std::array<u64, 4> gdt{0, 0, 0x00af'9b00'0000'ffff, 0x00cf'9300'0000'ffff};

/// PML4, one PDPT, then the page directories: 512 GiB is more than is ever mapped.
constexpr u64 pdpt_page = 1, first_directory_page = 2;
static_assert(identity_map_limit <= 512 * GiB);
static_assert(low_area::page_tables.value() +
                  (first_directory_page + identity_map_limit / GiB) * page_size <=
              low_area::command_line.value());

constexpr u32 limit_4g = 0xffff'ffff;
constexpr u32 type_code = 0xb, type_data = 0x3, type_busy_tss = 0xb;  // accessed ones

}  // namespace

std::vector<u8> make_identity_map(u64 top) {
  const u64 mapped = std::clamp(align_up(std::min(top, identity_map_limit), GiB), 4 * GiB,
                                identity_map_limit);
  const u64 directories = mapped / GiB;
  constexpr u64 table_bits = x86::pte::p | x86::pte::rw;
  const u64 base = low_area::page_tables.value();
  std::vector<u8> bytes((first_directory_page + directories) * page_size);
  const auto set = [&bytes](u64 page, u64 index, u64 value) {
    store_le<u64>(bytes, page * page_size + index * sizeof(u64), value);
  };
  set(0, 0, (base + pdpt_page * page_size) | table_bits);
  for (u64 d = 0; d < directories; ++d) {
    set(pdpt_page, d, (base + (first_directory_page + d) * page_size) | table_bits);
    for (u64 i = 0; i < entries_per_table; ++i) {
      set(first_directory_page + d, i, (d * GiB + i * superpage_size) | table_bits | x86::pte::ps);
    }
  }
  return bytes;
}

std::vector<u8> make_flat_gdt() {
  std::vector<u8> bytes(sizeof gdt);
  for (usize i = 0; i < gdt.size(); ++i) store_le<u64>(bytes, i * sizeof(u64), gdt[i]);
  return bytes;
}

EntryState make_long_mode_state() {
  using x86::Segment;
  EntryState state;
  state.cr0 = x86::cr0::pe | x86::cr0::et | x86::cr0::ne | x86::cr0::pg;
  state.cr3 = low_area::page_tables.value();
  state.cr4 = x86::cr4::pae;
  state.efer = x86::efer::lme | x86::efer::lma;
  state.gdt = {low_area::gdt.value(), sizeof gdt - 1};
  state.cs = {code_selector,
              type_code | Segment::s | Segment::present | Segment::long_mode | Segment::granular,
              limit_4g, 0};
  const Segment data{data_selector,
                     type_data | Segment::s | Segment::present | Segment::big | Segment::granular,
                     limit_4g, 0};
  state.ds = state.es = state.ss = state.fs = state.gs = data;
  state.ldtr = {0, Segment::unusable, 0, 0};
  state.tr = {0, type_busy_tss | Segment::present, 0xffff, 0};
  return state;
}

}  // namespace bhyve::loader
