#include "diff_inputs.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

namespace bhyve::test::diff {
namespace {

using x86::Gpr;

struct Slice {
  unsigned index;  ///< of the 64-bit register
  unsigned bits;
  unsigned shift;
};

std::optional<Slice> slice_of(ZydisRegister r) {
  if (r == ZYDIS_REGISTER_NONE || r == ZYDIS_REGISTER_RIP || r == ZYDIS_REGISTER_EIP) return {};
  const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r);
  if (ZydisRegisterGetClass(whole) != ZYDIS_REGCLASS_GPR64) return {};
  const bool high = r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH;
  return Slice{static_cast<unsigned>(ZydisRegisterGetId(whole)),
               ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, r), high ? 8u : 0u};
}

u64 mask_of(unsigned bits) { return bits >= 64 ? ~u64{0} : (u64{1} << bits) - 1; }

u64 register_value(const State& s, ZydisRegister r) {
  const auto slice = slice_of(r);
  return slice ? s.gpr[slice->index] >> slice->shift & mask_of(slice->bits) : 0;
}

void put(Vectors& v, usize at, u64 value, usize n) { std::memcpy(v.data() + at, &value, n); }

bool is_bit_test(ZydisMnemonic m) {
  return m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS || m == ZYDIS_MNEMONIC_BTR ||
         m == ZYDIS_MNEMONIC_BTC;
}

u64 float_special(Random& r) {
  return r.pick<u64>({0, 0x8000'0000, 0x3f80'0000, 0xbf80'0000, 0x7f80'0000, 0xff80'0000,
                      0x7fc0'0000, 0x7f80'0001, 0x0000'0001, 0x007f'ffff, 0x0080'0000, 0x7f7f'ffff,
                      0x4f00'0000, 0xcf00'0000, 0x4b7f'ffff, 0x3f00'0000, r.next() & 0xffff'ffff});
}
u64 double_special(Random& r) {
  return r.pick<u64>({0, u64{1} << 63, 0x3ff0'0000'0000'0000, 0xbff0'0000'0000'0000,
                      0x7ff0'0000'0000'0000, 0xfff0'0000'0000'0000, 0x7ff8'0000'0000'0000,
                      0x7ff0'0000'0000'0001, 1, 0x000f'ffff'ffff'ffff, 0x7fef'ffff'ffff'ffff,
                      0x41e0'0000'0000'0000, 0xc3e0'0000'0000'0000, 0x433f'ffff'ffff'ffff,
                      0x3fe0'0000'0000'0000, r.next()});
}

}  // namespace

Inputs::Inputs(Random& random) : random_(random) {
  for (usize i = 0; i < images; ++i)
    for (usize at = 0; at < data_size; at += 8) {
      u64 v = random_.next();
      if (i == 1) v = float_special(random_) | float_special(random_) << 32;
      if (i == 2) v = double_special(random_);
      if (i == 3) v = value();
      std::memcpy(images_[i].data() + at, &v, 8);
    }
}

u64 Inputs::value() {
  switch (random_.below(4)) {
    case 0:
      return random_.next();
    case 1:
      return random_.below(70);
    case 2:
      return random_.next() >> random_.below(64);
    default:
      return random_.pick<u64>({0, 1, ~u64{0}, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff'ffff,
                                0x8000'0000, 0xffff'ffff, ~u64{0} >> 1, u64{1} << 63,
                                0xffff'ffff'8000'0000, 0xffff'ffff'ffff'ff80, 0x1'0000'0000});
  }
}

u64 Inputs::target(bool explicit_operand) {
  const u64 middle = data + 2 * page_size;
  switch (random_.below(explicit_operand ? 16 : 64)) {
    case 0:
      return middle - random_.below(64);  // often across the page border
    case 1:
      return data + data_size - random_.below(70);
    case 2:
      return data - random_.below(70);
    case 3:
      return code + 64 * random_.below(8);  // read-only
    case 4:
      return random_.one_in(4) ? (u64{1} << 63) + middle : middle - 8;
    case 5: case 6: case 7:
      return middle + random_.below(512);
    default:
      return middle + 64 * (random_.below(16) - 8);
  }
}

void Inputs::fill_x87(Vectors& v) {
  const bool unmasked = random_.one_in(12);
  const u64 fcw = 0x40 | (random_.below(16) << 8) | (unmasked ? random_.below(64) : 63);
  u64 fsw = random_.below(8) << 11 | (random_.next() & 0x4700);
  if (random_.one_in(4)) fsw |= random_.below(128);
  if (fsw & ~fcw & 63) fsw |= 0x8080;
  else fsw &= ~u64{0x8080};
  put(v, vectors::fcw, fcw, 2);
  put(v, vectors::fsw, fsw, 2);
  put(v, vectors::ftw, random_.one_in(3) ? random_.next() : 0xff * random_.below(2), 1);
  for (usize i = 0; i < 8; ++i) {
    const u64 exponent = random_.pick<u64>({0, 1, 0x3ffe, 0x3fff, 0x4000, 0x401e, 0x403e, 0x7ffe,
                                            0x7fff, random_.next() & 0x7fff});
    const u64 mantissa = random_.pick<u64>({0, u64{1} << 63, u64{3} << 62, (u64{1} << 63) | 1, 1,
                                            ~u64{0}, random_.next() | u64{1} << 63});
    put(v, vectors::st + 16 * i, mantissa, 8);
    put(v, vectors::st + 16 * i + 8, exponent | random_.below(2) << 15, 2);
  }
}

void Inputs::fill_vectors(Vectors& v) {
  v.fill(0);
  fill_x87(v);
  u64 mxcsr = (random_.below(8) << 13) | (random_.one_in(4) ? random_.below(64) : 0) |
              (random_.one_in(4) ? 0x40 : 0);
  mxcsr |= random_.one_in(12) ? random_.below(64) << 7 : 0x1f80;
  put(v, vectors::mxcsr, mxcsr, 4);
  const u64 kind = random_.below(5);
  const auto fill = [&](usize at, usize length) {
    for (usize i = 0; i < length; i += 8) {
      u64 x = random_.next();
      if (kind == 1) x = float_special(random_) | float_special(random_) << 32;
      if (kind == 2) x = double_special(random_);
      if (kind == 3) x = value();
      if (kind == 4) x = (x & 0x0f0f'0f0f'0f0f'0f0f);
      put(v, at + i, x, 8);
    }
  };
  fill(vectors::xmm, 256);
  fill(vectors::ymm_hi, 256);
  fill(vectors::zmm_hi256, 512);
  fill(vectors::hi16_zmm, 1024);
  for (usize k = 0; k < 8; ++k) put(v, vectors::opmask + 8 * k, value(), 8);
}

/// Points a displacement-only or RIP-relative operand at `at`.
bool Inputs::patch_displacement(Candidate& c, u64 at, u64 rip) {
  const auto& disp = c.insn.raw.disp;
  if (c.mode == Mode::user16 && disp.size == 16) {
    const auto offset = static_cast<u16>(at);
    std::memcpy(c.bytes.data() + disp.offset, &offset, sizeof offset);
    return c.decode();
  }
  if (disp.size != 32) return false;
  const bool relative = c.insn.attributes & ZYDIS_ATTRIB_IS_RELATIVE;
  const u64 value32 = relative ? at - (rip + c.insn.length) : at;
  if (static_cast<u64>(static_cast<i64>(static_cast<i32>(value32))) != value32) return false;
  const auto d = static_cast<u32>(value32);
  std::memcpy(c.bytes.data() + disp.offset, &d, sizeof d);
  return c.decode();
}

bool Inputs::aim_operand(Candidate& c, const ZydisDecodedOperand& o, State& s, u32& aimed) {
  const u64 at = target(o.visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT) - data_base(c.mode);
  const auto base = slice_of(o.mem.base);
  const bool vector_index = o.mem.type == ZYDIS_MEMOP_TYPE_VSIB;
  const auto index = vector_index ? std::nullopt : slice_of(o.mem.index);
  if (!base) {
    if (index) s.gpr[index->index] = random_.below(8);
    return patch_displacement(c, at, s.rip);
  }
  if (index && index->index == base->index && index->bits > 8) return false;
  if (aimed >> base->index & 1) return true;
  aimed |= 1u << base->index;
  u64 offset = static_cast<u64>(o.mem.disp.value);
  if (index) {
    if (index->bits == 8) s.gpr[index->index] &= 0xff;
    else if (!(aimed >> index->index & 1)) s.gpr[index->index] = value();
    if (legacy(c.mode)) s.gpr[index->index] &= 0xffff'ffff;
    offset += register_value(s, o.mem.index) * o.mem.scale;
  }
  s.gpr[base->index] = at - offset;
  if (legacy(c.mode)) s.gpr[base->index] &= 0xffff'ffff;
  else if (base->bits == 32)
    s.gpr[base->index] = (s.gpr[base->index] & 0xffff'ffff) | (random_.next() << 32);
  return true;
}

/// Vector indexes and bit offsets must not leave the window.
void Inputs::limit_indexes(const Candidate& c, State& s) {
  for (unsigned i = 0; i < c.insn.operand_count; ++i) {
    const ZydisDecodedOperand& o = c.operands[i];
    if (o.type != ZYDIS_OPERAND_TYPE_MEMORY || o.mem.type != ZYDIS_MEMOP_TYPE_VSIB) continue;
    const std::string name = ZydisMnemonicGetString(c.insn.mnemonic);
    const bool qwords = name.find("qpd") != std::string::npos || name.find("qps") != std::string::npos ||
                        name.find("rqd") != std::string::npos || name.find("rqq") != std::string::npos;
    const auto n = static_cast<usize>(ZydisRegisterGetId(o.mem.index));
    const usize step = qwords ? 8 : 4;
    for (usize at = 0; at < 64; at += step) {
      const u64 x = random_.below(256) - 128;
      usize to = n >= 16 ? vectors::hi16_zmm + 64 * (n - 16) + at
                 : at < 16 ? vectors::xmm + 16 * n + at
                 : at < 32 ? vectors::ymm_hi + 16 * n + at - 16
                           : vectors::zmm_hi256 + 32 * n + at - 32;
      put(s.vectors, to, x, step);
    }
  }
  if (is_bit_test(c.insn.mnemonic) && c.operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY &&
      c.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
    if (const auto slice = slice_of(c.operands[1].reg.value))
      s.gpr[slice->index] = random_.below(0x4000) - 0x2000;
  if (c.insn.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) {
    u64& rcx = s.gpr[static_cast<usize>(Gpr::rcx)];
    rcx = random_.one_in(16) ? value() : random_.below(40);
  }
}

bool Inputs::aim(Candidate& c, State& s, u32& aimed) {
  for (unsigned i = 0; i < c.insn.operand_count; ++i) {
    const ZydisDecodedOperand o = c.operands[i];
    if (o.type != ZYDIS_OPERAND_TYPE_MEMORY || o.mem.type == ZYDIS_MEMOP_TYPE_AGEN) continue;
    if (!aim_operand(c, o, s, aimed)) return false;
  }
  return in_reach(c, s);
}

bool Inputs::in_reach(const Candidate& c, const State& s) const {
  if (c.mode == Mode::user16) return true;  // the limit of the segment sees to that
  for (unsigned i = 0; i < c.insn.operand_count; ++i) {
    const ZydisDecodedOperand& o = c.operands[i];
    if (o.type != ZYDIS_OPERAND_TYPE_MEMORY || o.mem.type == ZYDIS_MEMOP_TYPE_AGEN) continue;
    u64 at = static_cast<u64>(o.mem.disp.value);
    if (o.mem.base == ZYDIS_REGISTER_RIP || o.mem.base == ZYDIS_REGISTER_EIP)
      at += s.rip + c.insn.length;
    else
      at += register_value(s, o.mem.base);
    if (o.mem.type != ZYDIS_MEMOP_TYPE_VSIB) at += register_value(s, o.mem.index) * o.mem.scale;
    if (c.insn.address_width == 32) at &= 0xffff'ffff;
    if (is_bit_test(c.insn.mnemonic) && c.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER) {
      const i64 bits = static_cast<i64>(register_value(s, c.operands[1].reg.value)
                                        << (64 - c.operands[1].size)) >>
                       (64 - c.operands[1].size);
      if (bits > 0x10'0000 || bits < -0x10'0000) return false;
    }
    const bool near = at >= code && at < data + data_size + 256 * KiB;
    if (!near && x86::is_canonical(at)) return false;
  }
  return true;
}

void Inputs::fill(State& s, std::span<u8, data_size> memory) {
  for (u64& r : s.gpr) r = value();
  s.gpr[static_cast<usize>(Gpr::rsp)] = data + 3 * page_size - 8 * random_.below(64);
  s.gpr[static_cast<usize>(Gpr::rbp)] = data + page_size + random_.below(512);
  s.flags = random_.next() & x86::rflags::arithmetic;
  if (random_.one_in(8)) s.flags |= x86::rflags::df;
  s.rip = code + page_size - 64;
  fill_vectors(s.vectors);
  std::copy_n(images_[random_.below(images)].begin(), memory.size(), memory.begin());
}

namespace {

/// 32- and 16-bit code have eight registers of 32 bits.
void narrow(State& s, Mode mode) {
  for (const Gpr pointer : {Gpr::rsp, Gpr::rbp}) s.gpr[static_cast<usize>(pointer)] -= data_base(mode);
  for (usize i = 0; i < s.gpr.size(); ++i) s.gpr[i] = i < 8 ? s.gpr[i] & 0xffff'ffff : 0;
}

/// General registers that the instruction writes, and those that its addresses need.
struct RegisterUse final {
  u32 written = 0, addresses = 0;
  bool hard_to_aim = false;  ///< by vectors, bit offsets or counts that must be small
};

RegisterUse use_of(const Candidate& c) {
  RegisterUse use;
  const auto mark = [](u32& set, ZydisRegister r) {
    if (const auto slice = slice_of(r)) set |= 1u << slice->index;
  };
  for (unsigned i = 0; i < c.insn.operand_count; ++i) {
    const ZydisDecodedOperand& o = c.operands[i];
    if (o.type == ZYDIS_OPERAND_TYPE_REGISTER && o.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
      mark(use.written, o.reg.value);
    if (o.type != ZYDIS_OPERAND_TYPE_MEMORY || o.mem.type == ZYDIS_MEMOP_TYPE_AGEN) continue;
    mark(use.addresses, o.mem.base);
    mark(use.addresses, o.mem.index);
    use.hard_to_aim |= o.mem.type == ZYDIS_MEMOP_TYPE_VSIB || is_bit_test(c.insn.mnemonic);
  }
  use.hard_to_aim |= (c.insn.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE |
                                           ZYDIS_ATTRIB_HAS_REPNE)) != 0;
  use.hard_to_aim |= (c.insn.attributes & ZYDIS_ATTRIB_IS_RELATIVE) != 0;
  return use;
}

}  // namespace

bool Inputs::make(Candidate& c, State& s, std::span<u8, data_size> memory) {
  fill(s, memory);
  if (random_.one_in(8)) s.rip = code + page_size - random_.below(c.insn.length);
  limit_indexes(c, s);
  if (legacy(c.mode)) narrow(s, c.mode);
  u32 aimed = 0;
  return aim(c, s, aimed);
}

void Inputs::make(std::vector<Candidate>& sequence, State& s, std::span<u8, data_size> memory) {
  fill(s, memory);
  if (!sequence.empty() && legacy(sequence[0].mode)) narrow(s, sequence[0].mode);
  u32 aimed = 0, written = 0;
  std::vector<Candidate> kept;
  for (Candidate& c : sequence) {
    const RegisterUse use = use_of(c);
    if (use.hard_to_aim || use.addresses & written) continue;
    const State before = s;
    u32 now = aimed;
    // Aiming may not have moved what the ones before need.
    if (!aim(c, s, now) || !std::all_of(kept.begin(), kept.end(),
                                        [&](const Candidate& k) { return in_reach(k, s); })) {
      s = before;
      continue;
    }
    aimed = now | use.addresses;
    written |= use.written;
    kept.push_back(c);
  }
  sequence = std::move(kept);
}

}  // namespace bhyve::test::diff
