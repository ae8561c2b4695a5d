#include "loader/protected_mode.hpp"

#include "base/bytes.hpp"

namespace bhyve::loader {

EntryState make_protected_mode_state() {
  using x86::Segment;
  constexpr u16 code_selector = 0x10, data_selector = 0x18;
  constexpr u32 limit_4g = 0xffff'ffff, tss_limit = 0x67;
  constexpr u32 type_code = 0xb, type_data = 0x3, type_busy_tss = 0xb;  // accessed ones
  constexpr u32 flat = Segment::s | Segment::present | Segment::big | Segment::granular;
  EntryState state;
  state.cr0 = x86::cr0::pe | x86::cr0::et;
  state.cs = {code_selector, type_code | flat, limit_4g, 0};
  state.ds = state.es = state.ss = state.fs = state.gs = {data_selector, type_data | flat, limit_4g,
                                                          0};
  state.ldtr = {0, Segment::unusable, 0, 0};
  state.tr = {0, type_busy_tss | Segment::present, tss_limit, 0};
  return state;
}

std::vector<u8> make_flat_gdt_32() {
  constexpr u64 code = 0x00cf'9b00'0000'ffff, data = 0x00cf'9300'0000'ffff;
  std::vector<u8> bytes(flat_gdt_32_limit + 1);
  store_le<u64>(bytes, 0x10, code);
  store_le<u64>(bytes, 0x18, data);
  return bytes;
}

}  // namespace bhyve::loader
