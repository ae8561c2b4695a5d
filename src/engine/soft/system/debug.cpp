// Breakpoints and single step (SDM vol. 3, ch. 18.2, 18.3).
#include "engine/soft/system/debug.hpp"

#include "engine/soft/cpu.hpp"

namespace bhyve::soft {

namespace dr = x86::dr;
namespace rflags = x86::rflags;

namespace {

/// Whether [first, first + size) meets the breakpoint's aligned range; both may wrap around.
bool meets(u64 address, unsigned length, u64 first, unsigned size, u64 mask) {
  const u64 start = address & ~u64{length - 1} & mask;
  return ((start - first) & mask) < size || ((first - start) & mask) < length;
}

}  // namespace

void Cpu::note_access(u64 la, unsigned size, bool write) {
  const u64 mask = long_mode() ? ~u64{0} : 0xffff'ffff;
  for (unsigned n = 0; n < breakpoint_count; ++n) {
    if (!breakpoint_enabled(s.dr7, n)) continue;
    const BreakOn kind = breakpoint_kind(s.dr7, n);
    if (kind != BreakOn::access && !(kind == BreakOn::write && write)) continue;
    if (meets(s.dr[n], breakpoint_length(s.dr7, n), la & mask, size, mask)) data_hits_ |= bit(n);
  }
}

void Cpu::note_port(u16 port, unsigned size) {
  if (!(s.dr7 & dr::dr7_enables) || !(s.cr4 & x86::cr4::de)) return;
  for (unsigned n = 0; n < breakpoint_count; ++n)
    if (breakpoint_enabled(s.dr7, n) && breakpoint_kind(s.dr7, n) == BreakOn::port &&
        meets(s.dr[n], breakpoint_length(s.dr7, n), port, size, ~u64{0}))
      data_hits_ |= bit(n);
}

u64 Cpu::code_breakpoints() const {
  if (!(s.dr7 & dr::dr7_enables) || sysflags & rflags::rf) return 0;
  const u64 mask = code64() ? ~u64{0} : 0xffff'ffff;
  const u64 base = code64() ? 0 : s.seg[static_cast<u8>(x86::Seg::cs)].base;
  u64 hits = 0;
  for (unsigned n = 0; n < breakpoint_count; ++n)
    if (breakpoint_enabled(s.dr7, n) && breakpoint_kind(s.dr7, n) == BreakOn::execute &&
        ((s.dr[n] ^ (base + rip)) & mask) == 0)
      hits |= bit(n);
  return hits;
}

void Cpu::add_debug_trap(u64 dr6_bits) {
  pending_debug_ |= dr6_bits;
  update_mode();
}

void Cpu::join_debug_trap() {
  if (!pending_debug_) return;
  s.dr6 = (s.dr6 & ~dr::dr6_hits) | pending_debug_;
  pending_debug_ = 0;
}

/// #DB now, at rip. DR6.B0-B3 show this exception; the other bits stay until software clears them.
Step Cpu::deliver_debug(u64 dr6_bits) {
  pending_debug_ = 0;
  current_ = nullptr;
  s.halted = false;
  s.dr6 = (s.dr6 & ~dr::dr6_hits) | dr6_bits;
  return deliver({x86::Vector::db, false, 0}, EventKind::exception, rip) ? Step::stop : Step::exit;
}

/// What the debug facilities have to say before the instruction at rip. False: nothing.
bool Cpu::debug_before(Step& st) {
  const u64 bits = pending_debug_ ? pending_debug_ : code_breakpoints();
  if (!bits) return false;
  st = deliver_debug(bits);
  return true;
}

/// After an instruction (or an iteration) that completed: traps, in one exception. `stepped`: TF
/// was set before it. MOV SS and POP SS put data breakpoints off until after the next instruction
/// and lose the single step (18.3.1.4, 6.8.3).
Step Cpu::debug_after(Step st, bool stepped) {
  if (debug_shadow_) {
    if (data_hits_) add_debug_trap(data_hits_);
    return st;
  }
  const u64 step = stepped && !step_suppressed_ ? dr::dr6_bs : 0;
  const u64 bits = pending_debug_ | data_hits_ | step;
  return bits ? deliver_debug(bits) : st;
}

}  // namespace bhyve::soft
