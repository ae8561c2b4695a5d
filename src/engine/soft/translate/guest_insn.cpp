// From an instruction's bytes to what the translator does with it. Opcode maps: SDM vol. 2, appendix A.
#include "engine/soft/translate/guest_insn.hpp"

#include "engine/soft/decode/decoder.hpp"
#include "engine/soft/replay/replay.hpp"
#include "engine/soft/translate/guest_insn_rules.hpp"
#include "engine/soft/translate/host_code.hpp"

namespace bhyve::soft {

namespace flag {
u8 of_condition(unsigned cc) {
  constexpr u8 by_pair[8] = {of, cf, zf, cf | zf, sf, pf, sf | of, zf | sf | of};
  return by_pair[cc >> 1 & 7];
}
}  // namespace flag

u8 GuestInsn::reg() const {
  const unsigned low = modrm >> 3 & 7;
  if (encoding == Encoding::legacy) return static_cast<u8>(low | (rex & 4u) << 1);
  return static_cast<u8>(low | (bytes[vex_at + 1] & 0x80 ? 0u : 8u));
}

u8 GuestInsn::rm() const {
  const unsigned low = modrm & 7;
  if (encoding == Encoding::legacy) return static_cast<u8>(low | (rex & 1u) << 3);
  if (encoding == Encoding::vex && bytes[vex_at] == 0xc5) return static_cast<u8>(low);
  return static_cast<u8>(low | (bytes[vex_at + 1] & 0x20 ? 0u : 8u));
}

u8 GuestInsn::vvvv() const {
  const u8 p = bytes[vex_at + (bytes[vex_at] == 0xc5 ? 1 : 2)];
  return static_cast<u8>(~p >> 3 & 15);
}

namespace {

using rule::general, rule::group, rule::operand_bytes;

/// One-byte opcodes with ModRM that the translator knows.
bool one_byte_has_modrm(u8 op) {
  if (op < 0x40) return (op & 7) < 4;
  switch (op) {
    case 0x62: case 0x63: case 0x69: case 0x6b: case 0xc0: case 0xc1: case 0xc6: case 0xc7:
    case 0xd0: case 0xd1: case 0xd2: case 0xd3: case 0xf6: case 0xf7: case 0xfe: case 0xff:
      return true;
    default: return (op >= 0x80 && op <= 0x8f) || (op >= 0xd8 && op <= 0xdf);
  }
}

bool two_byte_has_modrm(u8 op) {
  if (op >= 0x80 && op <= 0x8f) return false;
  if (op >= 0xc8 && op <= 0xcf) return false;
  if (op >= 0x30 && op <= 0x37) return false;
  switch (op) {
    case 0x05: case 0x06: case 0x07: case 0x08: case 0x09: case 0x0b: case 0x0e: case 0x77:
    case 0xa0: case 0xa1: case 0xa2: case 0xa8: case 0xa9: case 0xaa: return false;
    default: return true;
  }
}

/// Walks prefixes, opcode, ModRM and displacement. False: a form that is left to the interpreter.
class Parser final {
 public:
  Parser(GuestInsn& g, unsigned length) : g_(g), length_(length) {}

  bool run() {
    if (!prefixes() || !opcode()) return false;
    if (g_.has_modrm && !operand()) return false;
    g_.imm_at = static_cast<u8>(at_);
    g_.imm_size = static_cast<u8>(length_ - at_);
    return true;
  }

 private:
  [[nodiscard]] bool more(unsigned n = 1) const { return at_ + n <= length_; }
  u8 next() { return g_.bytes[at_++]; }

  bool prefixes() {
    for (; more(); ++at_) {
      const u8 b = g_.bytes[at_];
      switch (b) {
        case 0x66: g_.prefix66 = 1; g_.rex = 0; continue;
        case 0xf2: case 0xf3: g_.rep = b; g_.rex = 0; continue;
        case 0xf0: g_.lock = true; g_.rex = 0; continue;
        case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64: case 0x65: g_.rex = 0; continue;
        case 0x67: return false;
        default: break;
      }
      if ((b & 0xf0) != 0x40 || g_.code32) return true;
      g_.rex = b;
    }
    return false;
  }

  bool opcode() {
    const u8 b = next();
    if (b == 0xc4 || b == 0xc5 || b == 0x62) return !g_.code32 ? vector_prefix(b) : vector_prefix32(b);
    if (b != 0x0f) {
      g_.opcode = b;
      g_.has_modrm = one_byte_has_modrm(b);
      return true;
    }
    if (!more()) return false;
    const u8 second = next();
    g_.map = 1;
    g_.opcode = second;
    if (second == 0x38 || second == 0x3a) {
      if (!more()) return false;
      g_.map = second == 0x38 ? 2 : 3;
      g_.opcode = next();
      g_.has_modrm = true;
      return true;
    }
    g_.has_modrm = two_byte_has_modrm(second);
    return true;
  }

  /// Only with what would be a register operand it is no LES, LDS or BOUND; and bits that name registers
  /// beyond the eighth, some of which count for nothing, are the interpreter's (SDM vol. 2, 2.3.5).
  bool vector_prefix32(u8 b) {
    if (!more(3) || (g_.bytes[at_] & 0xc0) != 0xc0) return false;
    if (b == 0xc5) {
      if (!(g_.bytes[at_] & 0x40)) return false;
    } else if (!(g_.bytes[at_] & 0x20) || !(g_.bytes[at_ + 1] & 0x40)) {
      return false;
    }
    if (b == 0x62 && (!(g_.bytes[at_] & 0x10) || !(g_.bytes[at_ + 2] & 8))) return false;
    return vector_prefix(b);
  }

  bool vector_prefix(u8 b) {
    const unsigned payload = b == 0xc5 ? 1 : b == 0xc4 ? 2 : 3;
    if (!more(payload + 2)) return false;
    g_.vex_at = static_cast<u8>(at_ - 1);
    g_.encoding = b == 0x62 ? Encoding::evex : Encoding::vex;
    g_.map = b == 0xc5 ? 1 : g_.bytes[at_] & (b == 0x62 ? 7 : 31);
    at_ += payload;
    g_.opcode = next();
    g_.has_modrm = !(g_.map == 1 && g_.opcode == 0x77 && b != 0x62);
    return g_.map >= 1 && g_.map <= 3;
  }

  bool operand() {
    if (!more()) return false;
    g_.modrm = next();
    const unsigned mod = g_.modrm >> 6, rm = g_.modrm & 7;
    if (mod == 3) return true;
    unsigned disp = mod == 1 ? 1 : mod == 2 ? 4 : rm == 5 ? 4 : 0;
    if (rm == 4) {
      if (!more()) return false;
      if ((next() & 7) == 5 && mod == 0) disp = 4;
    }
    at_ += disp;
    return at_ <= length_;
  }

  GuestInsn& g_;
  unsigned length_, at_ = 0;
};

void arithmetic(GuestInsn& g, unsigned which) {
  g.writes = flag::all;
  if (which == 2 || which == 3) g.reads = flag::cf;  // ADC, SBB
}

void shift(GuestInsn& g) {
  const bool is_byte = !(g.opcode & 1);
  const bool by_cl = g.opcode >= 0xd2;
  const unsigned which = g.modrm >> 3 & 7;
  group(g, true, is_byte);
  g.rm_in_register = true;  // undefined flags differ from those of the form with memory
  if (which == 2 || which == 3) g.reads = flag::all;  // RCL, RCR
  g.writes = flag::all;
  const unsigned count = by_cl ? 0 : g.opcode >= 0xd0 ? 1 : g.bytes[g.imm_at] & 0x1f;
  // A count of zero changes nothing; rotates leave all but CF and OF.
  if (count == 0 || which < 4) g.reads = flag::all;
}

void group_f6(GuestInsn& g) {
  const bool is_byte = g.opcode == 0xf6;
  const unsigned which = g.modrm >> 3 & 7;
  group(g, which == 2 || which == 3, is_byte);
  if (which == 2) return;  // NOT
  g.writes = flag::all;
  // MUL to IDIV work on RAX and RDX, which are the host's. A divide error must find the flags.
  if (which >= 6) g.reads = flag::all;
}

void group_ff(GuestInsn& g) {
  const bool is_byte = g.opcode == 0xfe;
  const unsigned which = g.modrm >> 3 & 7;
  if (which <= 1) {
    group(g, true, is_byte);
    g.writes = flag::all & ~flag::cf;  // INC, DEC
  } else if (!is_byte && (which == 2 || which == 4)) {
    g.kind = which == 2 ? Kind::call_indirect : Kind::jump_indirect;
    g.rm_gpr = g.mem_read = true;
    g.size = g.word();
    g.reads = flag::all;
  } else if (!is_byte && which == 6 && !g.prefix66 && g.memory()) {  // of a register: a rare encoding
    g.kind = Kind::push;
    g.rm_gpr = g.mem_read = true;
    g.size = g.word();
  }
}

/// XCHG with RAX as the form with ModRM.
void exchange(GuestInsn& g) {
  g.modrm = static_cast<u8>(0xc0 | (g.opcode & 7));
  g.opcode = 0x87;
  g.has_modrm = true;
  g.rex &= static_cast<u8>(~4);
  general(g, true, true, false);
}

/// What 32-bit code has elsewhere, or what 64-bit code has not.
void one_byte32(GuestInsn& g) {
  const u8 op = g.opcode;
  if (op >= 0x40 && op <= 0x4f) {  // INC, DEC: the bytes are REX prefixes now
    g.modrm = static_cast<u8>(0xc0 | (op & 15));
    g.opcode = 0xff;
    g.has_modrm = true;
    group(g, true, false);
    g.writes = flag::all & ~flag::cf;
  } else if (op >= 0xa0 && op <= 0xa3) {  // MOV between the accumulator and an absolute address
    constexpr u8 with_modrm[] = {0x8a, 0x8b, 0x88, 0x89};
    const bool stores = op >= 0xa2;
    g.opcode = with_modrm[op - 0xa0];
    g.modrm = 5;
    g.has_modrm = true;
    g.imm_size = 0;
    general(g, !stores, stores, !(op & 1));
    g.mem_read = !stores;
  }
}

/// Whether the operand size of a stack operand or a branch is that of 16-bit code, or the instruction is
/// none of 64-bit code.
bool is_callout32(const GuestInsn& g) {
  switch (g.kind) {
    case Kind::push:
    case Kind::push_imm:
    case Kind::pop:
    case Kind::leave:
    case Kind::ret:
    case Kind::call:
    case Kind::jump:
    case Kind::jump_cond:
    case Kind::jump_indirect:
    case Kind::call_indirect: return g.prefix66;
    case Kind::pushf:
    case Kind::swapgs: return true;
    default: return g.map == 0 && g.encoding == Encoding::legacy && (g.opcode == 0x63 || g.opcode == 0x82);
  }
}

/// General registers have 32 bits in 32-bit code, whatever VEX.W says.
bool ignores_w(const GuestInsn& g) {
  if (g.encoding == Encoding::legacy || g.bytes[g.vex_at] == 0xc5) return false;
  return g.bytes[g.vex_at + 2] >> 7 && (g.reg_gpr || g.rm_gpr || g.vvvv_gpr);
}

void one_byte(GuestInsn& g) {
  const u8 op = g.opcode;
  if (g.code32 && ((op & 0xf0) == 0x40 || (op & 0xfc) == 0xa0)) return one_byte32(g);
  const bool is_byte = !(op & 1);
  if (op < 0x40) {
    const unsigned which = op >> 3, form = op & 7;
    if (form < 4)
      general(g, form >= 2 && which != 7, form < 2 && which != 7, is_byte);
    else if (form < 6)
      g.kind = Kind::copy_plain;
    else
      return;
    return arithmetic(g, which);
  }
  switch (op) {
    case 0x63:
      general(g, true, false, false);
      if (g.size == 8) g.size = 4;
      break;
    case 0x69: case 0x6b: general(g, true, false, false); g.writes = flag::all; break;
    case 0x80: case 0x81: case 0x83: {
      const unsigned which = g.modrm >> 3 & 7;
      group(g, which != 7, is_byte);
      arithmetic(g, which);
      break;
    }
    case 0x84: case 0x85: general(g, false, false, is_byte); g.writes = flag::all; break;
    case 0x86: case 0x87: general(g, true, true, is_byte); break;
    case 0x88: case 0x89:
      general(g, false, true, is_byte);
      g.mem_read = false;
      break;
    case 0x8a: case 0x8b: general(g, true, false, is_byte); break;
    case 0x8d:
      if (operand_bytes(g) != 2) g.kind = Kind::lea;
      break;
    case 0x90:
      if (g.rep) break;  // PAUSE
      g.kind = Kind::nothing;
      if (g.rex & 1) exchange(g);
      break;
    case 0x98: case 0x99: g.kind = Kind::copy_plain; break;
    case 0x9c: if (!g.prefix66) g.kind = Kind::pushf, g.reads = flag::all; break;
    case 0xa8: case 0xa9: g.kind = Kind::copy_plain; g.writes = flag::all; break;
    case 0xc0: case 0xc1: case 0xd0: case 0xd1: case 0xd2: case 0xd3: shift(g); break;
    case 0xc2: case 0xc3: g.kind = Kind::ret; g.reads = flag::all; break;
    case 0xc6: case 0xc7:
      group(g, true, is_byte);
      g.mem_read = false;
      break;
    case 0xc9: g.kind = g.prefix66 ? Kind::callout : Kind::leave; break;
    case 0xe8: g.kind = Kind::call; g.reads = flag::all; break;
    case 0xe9: case 0xeb: g.kind = Kind::jump; g.reads = flag::all; break;
    case 0xf5: g.kind = Kind::copy_plain; g.reads = g.writes = flag::cf; break;
    case 0xf8: case 0xf9: g.kind = Kind::copy_plain; g.writes = flag::cf; break;
    case 0xfa: g.kind = Kind::cli; break;
    case 0xfb: g.kind = Kind::sti; break;
    case 0xf6: case 0xf7: group_f6(g); break;
    case 0xfe: case 0xff: group_ff(g); break;
    case 0x68: case 0x6a: g.kind = g.prefix66 ? Kind::callout : Kind::push_imm; break;
    default:
      if (op >= 0x50 && op <= 0x57) g.kind = g.prefix66 ? Kind::callout : Kind::push;
      if (op >= 0x58 && op <= 0x5f) g.kind = g.prefix66 ? Kind::callout : Kind::pop;
      if (op >= 0x70 && op <= 0x7f) g.kind = Kind::jump_cond, g.reads = flag::of_condition(op & 15);
      if (op >= 0x91 && op <= 0x97) exchange(g);
      if (op >= 0xb0 && op <= 0xbf) g.kind = Kind::move_imm;
      break;
  }
}

/// BT, BTS, BTR, BTC with a bit number in a register reach memory beyond the operand.
void bit_test(GuestInsn& g, unsigned which, bool immediate) {
  if (!immediate && g.memory()) return;
  g.rm_in_register = !immediate;
  if (immediate)
    group(g, which != 4, false);
  else
    general(g, false, which != 4, false);
  g.writes = flag::all;
  g.reads = flag::all & ~flag::cf;
}

/// STAC, CLAC, SWAPGS, RDTSCP.
void group_01(GuestInsn& g) {
  if (g.prefix66 || g.rep) return;
  switch (g.modrm) {
    case 0xca: case 0xcb: g.kind = Kind::stac; break;
    case 0xf8: g.kind = Kind::swapgs; break;
    case 0xf9: g.kind = Kind::rdtscp; break;
    default: break;
  }
}

void two_byte(GuestInsn& g) {
  const u8 op = g.opcode;
  const bool is_byte = !(op & 1);
  if (op >= 0x40 && op <= 0x4f) {
    general(g, true, false, false);
    g.reads = flag::of_condition(op & 15);
    return;
  }
  if (op >= 0x80 && op <= 0x8f) {
    g.kind = Kind::jump_cond;
    g.reads = flag::of_condition(op & 15);
    return;
  }
  if (op >= 0x90 && op <= 0x9f) {
    group(g, true, true);
    g.mem_read = false;
    g.reads = flag::of_condition(op & 15);
    return;
  }
  if (op >= 0xc8 && op <= 0xcf) {
    if (!g.prefix66) g.kind = Kind::bswap;
    return;
  }
  switch (op) {
    case 0x01: group_01(g); break;
    case 0x31: g.kind = Kind::rdtsc; break;
    case 0x0d: case 0x18: case 0x1f: g.kind = Kind::nothing; break;
    case 0x1e: if (g.rep == 0xf3) g.kind = Kind::nothing; break;
    case 0xa3: bit_test(g, 4, false); break;
    case 0xab: bit_test(g, 5, false); break;
    case 0xb3: bit_test(g, 6, false); break;
    case 0xbb: bit_test(g, 7, false); break;
    case 0xba: bit_test(g, g.modrm >> 3 & 7, true); break;
    case 0xa4: case 0xa5: case 0xac: case 0xad:
      general(g, false, true, false);
      g.reads = g.writes = flag::all;
      break;
    case 0xae:  // LFENCE, MFENCE, SFENCE
      if (!g.memory() && g.modrm >= 0xe8 && !g.rep && !g.prefix66) g.kind = Kind::copy;
      break;
    case 0xaf: general(g, true, false, false); g.writes = flag::all; break;
    case 0xb0: case 0xb1: general(g, false, true, is_byte); g.writes = flag::all; break;
    case 0xb6: case 0xb7: case 0xbe: case 0xbf:
      general(g, true, false, false);
      g.byte_rm = is_byte;
      g.size = is_byte ? 1 : 2;
      break;
    case 0xbc: case 0xbd:
      if (g.rep == 0xf2) break;
      general(g, true, false, false);
      g.writes = flag::all;
      break;
    case 0xc0: case 0xc1: general(g, true, true, is_byte); g.writes = flag::all; break;
    case 0xc3: general(g, false, true, false); g.mem_read = false; break;
    default: break;
  }
}

/// More register operands live in memory than there are scratch registers.
bool three_in_memory(const GuestInsn& g) {
  if (!g.vvvv_gpr) return false;
  const auto in_memory = [](u8 guest) { return host::of_guest[guest] == host::in_memory; };
  const bool reg = g.reg_gpr && in_memory(g.reg()), vvvv = in_memory(g.vvvv());
  if (g.memory()) return reg && vvvv;
  return unsigned{reg} + vvvv + (g.rm_gpr && in_memory(g.rm())) > 1;
}

}  // namespace

GuestInsn classify(const Insn& insn, const u8* bytes, bool code32) {
  constexpr auto code_segment = static_cast<u8>(x86::Seg::cs);  // flat, but nobody may write there
  GuestInsn g;
  g.code32 = code32;
  g.insn = &insn;
  g.bytes = bytes;
  // A handler may look at the flags as a whole, and a fault shows them.
  g.reads = g.writes = flag::all;
  if (Decoder::refused(insn)) return g;
  if (!Parser(g, insn.length).run()) return g;
  g.reads = g.writes = flag::none;
  if (is_replay(insn)) {
    rule::replayed(g);
  } else if (g.encoding == Encoding::legacy) {
    if (g.map == 0) one_byte(g);
    if (g.map == 1) two_byte(g);
    if (g.map == 1 && g.opcode == 0xc7 && g.memory() && (g.modrm >> 3 & 7) == 1) {
      group(g, true, false);  // CMPXCHG8B, CMPXCHG16B: the registers are the host's
      g.size = g.rex & 8 ? 16 : 8;
      g.writes = flag::zf;
    }
  }
  // A byte register without REX and an operand that needs one do not go together.
  if (g.kind == Kind::copy && g.memory() && g.byte_reg && g.reg_gpr &&
      g.high_byte(g.modrm >> 3 & 7))
    g.kind = Kind::callout;
  if (g.kind == Kind::copy && !g.memory() && g.byte_rm && !g.byte_reg && g.reg_gpr &&
      g.high_byte(g.modrm & 7) && host::of_guest[g.reg()] >= 8)
    g.kind = Kind::callout;
  if (g.kind == Kind::copy && three_in_memory(g)) g.kind = Kind::callout;
  const bool address_only = g.kind == Kind::nothing;
  if (g.kind != Kind::callout && !address_only && g.memory() &&
      (code32 ? insn.address_size != 2 || insn.seg == code_segment : insn.ea != Ea::flat64))
    g.kind = Kind::callout;
  if (code32 && (is_callout32(g) || ignores_w(g))) g.kind = Kind::callout;
  if (g.kind == Kind::callout) g.reads = g.writes = flag::all;
  return g;
}

}  // namespace bhyve::soft
