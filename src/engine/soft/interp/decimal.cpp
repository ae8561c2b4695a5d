// DAA, DAS, AAA, AAS, AAM, AAD: not in 64-bit mode, so the host cannot do them for us (SDM vol. 2).
// Flags that are undefined are as Intel's processors leave them.
#include "engine/soft/interp/alu_ops.hpp"
#include "engine/soft/interp/tables.hpp"

namespace bhyve::soft {

namespace {

constexpr u8 carry = 0x01, parity = 0x04, adjust = 0x10, zero = 0x40, sign = 0x80;

u8 flags_of(u8 result) {
  return static_cast<u8>((result & sign) | (result == 0 ? zero : 0) |
                         (__builtin_parity(result) ? 0 : parity));
}
/// Bits 7..0 of RFLAGS, with OF clear.
void set_flags(Cpu& c, unsigned low) {
  c.flags = static_cast<PackedFlags>((low | 2) << 8);
}
u8 low_flags(const Cpu& c) { return static_cast<u8>(c.flags >> 8); }

constexpr u8 al_slot = 0, ah_slot = 1;

template <bool subtract>
Step daa_das(Cpu& c, const Insn&) {
  const u8 old = c.reg<u8>(al_slot), before = low_flags(c);
  u8 al = old, now = 0;
  const bool low = (old & 15) > 9 || before & adjust, high = old > 0x99 || before & carry;
  if (low) {
    al = static_cast<u8>(subtract ? al - 6 : al + 6);
    now |= adjust;
    if (subtract ? old < 6 : old > 0xf9) now |= carry;
  }
  if (high) {
    al = static_cast<u8>(subtract ? al - 0x60 : al + 0x60);
    now |= carry;
  }
  c.set_reg<u8>(al_slot, al);
  set_flags(c, now | flags_of(al));
  return Step::next;
}

template <bool subtract>
Step aaa_aas(Cpu& c, const Insn&) {
  const u16 ax = c.reg<u16>(slot::of(0));
  const bool correct = (ax & 15) > 9 || low_flags(c) & adjust;
  const u16 moved = static_cast<u16>(!correct ? ax : subtract ? ax - 0x106 : ax + 0x106);
  c.set_reg<u16>(slot::of(0), moved & 0xff0f);
  set_flags(c, (correct ? adjust | carry : 0) | flags_of(moved & 15));
  return Step::next;
}

Step aam(Cpu& c, const Insn& i) {
  const u8 base = static_cast<u8>(i.imm), al = c.reg<u8>(al_slot);
  if (base == 0) return c.raise(x86::Vector::de);
  const u8 digit = al % base;
  c.set_reg<u8>(ah_slot, al / base);
  c.set_reg<u8>(al_slot, digit);
  set_flags(c, flags_of(digit));
  return Step::next;
}

/// The flags are those of the addition.
Step aad(Cpu& c, const Insn& i) {
  const u8 product = static_cast<u8>(c.reg<u8>(ah_slot) * static_cast<u8>(i.imm));
  const u8 sum = alu::Add::run<u8>(c.reg<u8>(al_slot), product, c.flags);
  c.set_reg<u16>(slot::of(0), sum);
  return Step::next;
}

}  // namespace

bool bind_decimal(const Decoded& d, Insn& out) {
  switch (d.info.mnemonic) {
    case ZYDIS_MNEMONIC_DAA: out.fn = daa_das<false>; return true;
    case ZYDIS_MNEMONIC_DAS: out.fn = daa_das<true>; return true;
    case ZYDIS_MNEMONIC_AAA: out.fn = aaa_aas<false>; return true;
    case ZYDIS_MNEMONIC_AAS: out.fn = aaa_aas<true>; return true;
    case ZYDIS_MNEMONIC_AAM:
    case ZYDIS_MNEMONIC_AAD:
      out.imm = d.operands[0].imm.value.u & 0xff;
      out.fn = d.info.mnemonic == ZYDIS_MNEMONIC_AAM ? aam : aad;
      return true;
    default: return false;
  }
}

}  // namespace bhyve::soft
