// Which general registers an instruction changes, and how.
#include "engine/soft/translate/guest_insn.hpp"

namespace bhyve::soft {

namespace {

constexpr u16 rax_mask = 1, rcx_mask = 2, rdx_mask = 4;

/// Registers that an instruction writes without naming them in ModRM or VEX.
u16 written_unnamed(const GuestInsn& g) {
  const unsigned which = g.modrm >> 3 & 7;
  if (g.x87) return rax_mask;  // FNSTSW AX
  if (g.map == 3) return g.opcode >= 0x60 && g.opcode <= 0x63 ? rcx_mask : 0;  // PCMPESTRI ...
  if (g.encoding != Encoding::legacy) return 0;
  if (g.map == 0) {
    if (g.opcode == 0xf6 || g.opcode == 0xf7) return which >= 4 ? rax_mask | rdx_mask : 0;
    if (g.opcode == 0x98 || g.opcode == 0x99) return rax_mask | rdx_mask;
    const bool accumulator = g.opcode < 0x40 && (g.opcode & 7) >= 4;
    return accumulator && g.opcode >> 3 != 7 ? rax_mask : 0;
  }
  if (g.map != 1) return 0;
  if (g.opcode == 0xb0 || g.opcode == 0xb1) return rax_mask;             // CMPXCHG
  if (g.opcode == 0xc7 && g.memory()) return rax_mask | rdx_mask;        // CMPXCHG8B, CMPXCHG16B
  return 0;
}

}  // namespace

u16 GuestInsn::gpr_written() const {
  if (kind == Kind::callout) return 0xffff;
  // AH to BH lie in the registers with the low numbers.
  const auto one = [this](u8 number, bool is_byte) {
    return static_cast<u16>(1u << number | (is_byte && high_byte(number) ? 1u << (number - 4) : 0u));
  };
  const u8 in_opcode = static_cast<u8>((opcode & 7) | (rex & 1u) << 3);
  switch (kind) {
    case Kind::move_imm: return one(in_opcode, opcode < 0xb8);
    case Kind::bswap:
    case Kind::pop: return one(in_opcode, false);
    case Kind::lea: return one(reg(), false);
    case Kind::rdtsc: return rax_mask | rdx_mask;
    case Kind::rdtscp: return rax_mask | rcx_mask | rdx_mask;
    case Kind::copy:
    case Kind::copy_plain: break;
    default: return 0;
  }
  u16 mask = written_unnamed(*this);
  if (reg_gpr && reg_written) mask |= one(reg(), byte_reg);
  if (vvvv_gpr && vvvv_written) mask |= one(vvvv(), false);
  if (rm_gpr && rm_written && !memory()) mask |= one(rm(), byte_rm);
  return mask;
}

GuestInsn::Sum GuestInsn::sum() const {
  if (encoding != Encoding::legacy || map != 0 || !(rex & 8) || insn->ea == Ea::general) return {};
  if (kind == Kind::lea) {
    const bool simple = insn->index == slot::zero && insn->base != slot::zero && insn->base != slot::rip;
    if (!simple) return {};
    return {true, reg(), static_cast<u8>(insn->base / 8), insn->disp};
  }
  if (kind != Kind::copy || memory()) return {};
  const unsigned which = modrm >> 3 & 7;
  switch (opcode) {
    case 0x89: return {true, rm(), reg(), 0};
    case 0x8b: return {true, reg(), rm(), 0};
    case 0x81:
    case 0x83: {
      if (which != 0 && which != 5) return {};
      i32 imm = 0;
      if (imm_size == 1)
        imm = static_cast<i8>(bytes[imm_at]);
      else
        __builtin_memcpy(&imm, bytes + imm_at, 4);
      return {true, rm(), rm(), which ? -i64{imm} : i64{imm}};
    }
    default: return {};
  }
}

}  // namespace bhyve::soft
