#include "engine/vcpu_state.hpp"

#include <algorithm>

namespace bhyve::engine {
namespace {

using x86::Gpr;
using x86::Seg;
using x86::Segment;

constexpr u32 data_segment = Segment::present | Segment::s | 3;   // read/write, accessed
constexpr u32 ldt = Segment::present | 2, busy_tss = Segment::present | 11;

// Family 6, model 15: EDX after reset holds the processor signature (SDM vol. 3, 10.1.2). An engine
// that tells another one by CPUID overwrites it.
constexpr u64 signature = 0x6f0;

// Standard format of the XSAVE area (SDM vol. 1, 13.4.1).
constexpr usize fcw_at = 0, fsw_at = 2, ftw_at = 4, mxcsr_at = 24;

void put16(std::array<u8, VcpuState::xsave_size>& area, usize at, u16 value) {
  area[at] = static_cast<u8>(value);
  area[at + 1] = static_cast<u8>(value >> 8);
}

/// Power-up values: FCW 40h (not the 37Fh of FINIT), all registers +0.0 and tagged valid.
void reset_fpu(std::array<u8, VcpuState::xsave_size>& area) {
  area.fill(0);
  put16(area, fcw_at, 0x0040);
  put16(area, fsw_at, 0);
  area[ftw_at] = 0xff;  // abridged tag word: no register is empty
  put16(area, mxcsr_at, 0x1f80);
  constexpr usize xstate_bv = 512;
  area[xstate_bv] = static_cast<u8>(x86::xcr0::x87 | x86::xcr0::sse);
}

void reset_segments(VcpuState& s) {
  s.seg.fill({.selector = 0, .access = data_segment, .limit = 0xffff, .base = 0});
  s.seg[static_cast<usize>(Seg::cs)] = {
      .selector = 0xf000, .access = data_segment, .limit = 0xffff, .base = 0xffff'0000};
  s.seg[static_cast<usize>(Seg::ldtr)].access = ldt;
  s.seg[static_cast<usize>(Seg::tr)].access = busy_tss;
  s.gdtr = s.idtr = {.base = 0, .limit = 0xffff};
}

}  // namespace

void VcpuState::reset(bool init) {
  // INIT keeps CD and NW as they were (footnote of table 10-1); power-up sets both.
  const u64 caching = init ? cr0 & (x86::cr0::cd | x86::cr0::nw) : x86::cr0::cd | x86::cr0::nw;
  if (!init) {
    *this = VcpuState{};
    reset_fpu(xsave);
  }
  gpr.fill(0);
  gpr[static_cast<usize>(Gpr::rdx)] = signature;
  rip = 0xfff0;
  rflags = x86::rflags::fixed1;
  cr0 = caching | x86::cr0::et;
  cr2 = cr3 = cr4 = efer = 0;
  reset_segments(*this);
  dr.fill(0);
  dr6 = x86::dr::dr6_reset;
  dr7 = x86::dr::dr7_reset;
  interrupt_shadow = nmi_blocked = halted = false;
}

}  // namespace bhyve::engine
