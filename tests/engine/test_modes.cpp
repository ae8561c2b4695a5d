#include "test_modes.hpp"

#include <array>

namespace bhyve::test {
namespace {

using engine::VcpuState;
using x86::Gpr;
using x86::Seg;
using x86::Segment;

// Descriptors (SDM vol. 3, 3.4.5): flat, present, DPL 0, accessed.
constexpr std::array<u64, 6> gdt{0,
                                 0x00af'9b00'0000'ffff,   // 64-bit code
                                 0x00cf'9300'0000'ffff,   // data
                                 0x00cf'9b00'0000'ffff,   // 32-bit code
                                 0x0000'9b00'0000'ffff,   // 16-bit code
                                 0x0000'9300'0000'ffff};  // 16-bit data

constexpr u32 code_access = Segment::present | Segment::s | 11;
constexpr u32 data_access = Segment::present | Segment::s | 3;

Segment& segment(VcpuState& s, Seg which) { return s.seg[static_cast<usize>(which)]; }

void flat_segments(TestMachine& machine, VcpuState& s, u16 code, u32 code_bits) {
  machine.write_value(gdt_at, gdt);
  s.gdtr = {.base = gdt_at, .limit = sizeof gdt - 1};
  s.idtr = {.base = 0, .limit = 0};
  const u32 big = Segment::big | Segment::granular;
  for (Seg which : {Seg::es, Seg::ss, Seg::ds, Seg::fs, Seg::gs})
    segment(s, which) = {sel_data, data_access | big, 0xffff'ffff, 0};
  segment(s, Seg::cs) = {code, code_access | code_bits | Segment::granular, 0xffff'ffff, 0};
}

void identity_map(TestMachine& machine) {
  constexpr u64 rw = x86::pte::p | x86::pte::rw;
  constexpr u64 pdpt = page_tables_at + page_size, pds = pdpt + page_size;
  machine.write_value(page_tables_at, pdpt | rw);
  for (u64 gib = 0; gib < 4; ++gib) machine.write_value(pdpt + gib * 8, (pds + gib * page_size) | rw);
  std::array<u64, 4 * 512> entries;
  for (u64 i = 0; i < entries.size(); ++i)
    entries[i] = i * superpage_size | rw | x86::pte::ps;
  machine.write_value(pds, entries);
}

}  // namespace

VcpuState enter_long_mode(TestMachine& machine, u64 rip, u64 rsp) {
  VcpuState s;
  s.reset(false);
  flat_segments(machine, s, sel_code64, Segment::long_mode);
  identity_map(machine);
  s.cr3 = page_tables_at;
  s.cr4 = x86::cr4::pae;
  s.efer = x86::efer::lme | x86::efer::lma;
  s.cr0 = x86::cr0::pe | x86::cr0::et | x86::cr0::ne | x86::cr0::pg;
  s.rip = rip;
  s.gpr[static_cast<usize>(Gpr::rsp)] = rsp;
  return s;
}

VcpuState enter_protected_mode(TestMachine& machine, u32 rip, u32 esp) {
  VcpuState s;
  s.reset(false);
  flat_segments(machine, s, sel_code32, Segment::big);
  s.cr0 = x86::cr0::pe | x86::cr0::et | x86::cr0::ne;
  s.rip = rip;
  s.gpr[static_cast<usize>(Gpr::rsp)] = esp;
  return s;
}

VcpuState enter_real_mode(u16 rip, u16 sp) {
  VcpuState s;
  s.reset(false);
  segment(s, Seg::cs) = {0, data_access, 0xffff, 0};
  s.cr0 = x86::cr0::et;
  s.rip = rip;
  s.gpr[static_cast<usize>(Gpr::rsp)] = sp;
  return s;
}

}  // namespace bhyve::test
