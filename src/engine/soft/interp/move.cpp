// Data movement: MOV, MOVZX, MOVSX, LEA, XCHG of registers, CMOVcc, SETcc, sign extensions, BSWAP,
// MOVBE, XLAT, flag instructions, NOP.
#include "engine/soft/interp/alu_ops.hpp"
#include "engine/soft/interp/tables.hpp"

namespace bhyve::soft {

namespace {

template <class T>
Step mov_rr(Cpu& c, const Insn& i) {
  c.set_reg<T>(i.dst, c.reg<T>(i.src));
  return Step::next;
}
template <class T>
Step mov_ri(Cpu& c, const Insn& i) {
  c.set_reg<T>(i.dst, static_cast<T>(i.imm));
  return Step::next;
}
template <class T>
Step mov_load(Cpu& c, const Insn& i) {
  T v;
  if (!c.load<T>(i, v)) return c.failed();
  c.set_reg<T>(i.dst, v);
  return Step::next;
}
template <class T>
Step mov_store(Cpu& c, const Insn& i) {
  return c.store<T>(i, c.reg<T>(i.src)) ? Step::next : c.failed();
}
template <class T>
Step mov_store_imm(Cpu& c, const Insn& i) {
  return c.store<T>(i, static_cast<T>(i.imm)) ? Step::next : c.failed();
}

// MOV with a 64-bit absolute address (A0..A3): the address is in imm.
bool absolute(Cpu& c, const Insn& i, unsigned size, bool write, u64& la) {
  return c.linear(static_cast<x86::Seg>(+i.seg), i.imm, size, write, la);
}
template <class T>
Step mov_load_abs(Cpu& c, const Insn& i) {
  u64 la;
  T v;
  if (!absolute(c, i, sizeof(T), false, la) || !c.read<T>(la, v)) return c.failed();
  c.set_reg<T>(slot::of(0), v);
  return Step::next;
}
template <class T>
Step mov_store_abs(Cpu& c, const Insn& i) {
  u64 la;
  if (!absolute(c, i, sizeof(T), true, la) || !c.write<T>(la, c.reg<T>(slot::of(0))))
    return c.failed();
  return Step::next;
}

bool bind_mov(const Decoded& d, Insn& out) {
  const auto& a = d.operands[0];
  const auto& b = d.operands[1];
  if ((!is_gpr(a) && !is_mem(a)) || (!is_gpr(b) && !is_mem(b) && !is_imm(b))) return false;
  const unsigned size = size_log2(a.size);
  if (d.info.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && d.info.opcode >= 0xa0 &&
      d.info.opcode <= 0xa3) {
    const auto& m = is_mem(a) ? a : b;
    out.imm = static_cast<u64>(m.mem.disp.value);
    if (d.info.address_width == 32) out.imm = static_cast<u32>(out.imm);
    if (d.info.address_width == 16) out.imm = static_cast<u16>(out.imm);
    out.fn = is_mem(a) ? BHYVE_BY_SIZE(mov_store_abs)[size] : BHYVE_BY_SIZE(mov_load_abs)[size];
    return true;
  }
  if (is_mem(a)) {
    if (is_imm(b)) {
      out.imm = b.imm.value.u;
      out.fn = BHYVE_BY_SIZE(mov_store_imm)[size];
    } else {
      out.src = slot_of(b.reg.value);
      out.fn = BHYVE_BY_SIZE(mov_store)[size];
    }
    return true;
  }
  out.dst = slot_of(a.reg.value);
  if (is_imm(b)) {
    out.imm = b.imm.value.u;
    out.fn = BHYVE_BY_SIZE(mov_ri)[size];
  } else if (is_mem(b)) {
    out.fn = BHYVE_BY_SIZE(mov_load)[size];
  } else {
    out.src = slot_of(b.reg.value);
    out.fn = BHYVE_BY_SIZE(mov_rr)[size];
  }
  return true;
}

template <class From, class To>
Step extend_reg(Cpu& c, const Insn& i) {
  c.set_reg<To>(i.dst, static_cast<To>(c.reg<From>(i.src)));
  return Step::next;
}
template <class From, class To>
Step extend_mem(Cpu& c, const Insn& i) {
  From v;
  if (!c.load<From>(i, v)) return c.failed();
  c.set_reg<To>(i.dst, static_cast<To>(v));
  return Step::next;
}
// [memory][source size][destination size - 16 bits]; sign extension by signed types.
#define BHYVE_EXTEND_ROW(f, From) \
  { f<From, u16>, f<From, u32>, f<From, u64> }
constexpr Handler zero_extend[2][3][3] = {
    {BHYVE_EXTEND_ROW(extend_reg, u8), BHYVE_EXTEND_ROW(extend_reg, u16),
     BHYVE_EXTEND_ROW(extend_reg, u32)},
    {BHYVE_EXTEND_ROW(extend_mem, u8), BHYVE_EXTEND_ROW(extend_mem, u16),
     BHYVE_EXTEND_ROW(extend_mem, u32)}};
#define BHYVE_SIGN_ROW(f, From) \
  { f<From, i16>, f<From, i32>, f<From, i64> }
constexpr Handler sign_extend[2][3][3] = {
    {BHYVE_SIGN_ROW(extend_reg, i8), BHYVE_SIGN_ROW(extend_reg, i16),
     BHYVE_SIGN_ROW(extend_reg, i32)},
    {BHYVE_SIGN_ROW(extend_mem, i8), BHYVE_SIGN_ROW(extend_mem, i16),
     BHYVE_SIGN_ROW(extend_mem, i32)}};

bool bind_extend(const Decoded& d, Insn& out, const Handler (&table)[2][3][3]) {
  const auto& b = d.operands[1];
  out.dst = slot_of(d.operands[0].reg.value);
  if (!is_mem(b)) out.src = slot_of(b.reg.value);
  out.fn = table[is_mem(b)][size_log2(b.size)][size_log2(d.operands[0].size) - 1];
  return true;
}

template <class T>
Step lea(Cpu& c, const Insn& i) {
  c.set_reg<T>(i.dst, static_cast<T>(c.effective_address(i)));
  return Step::next;
}

template <class T>
Step cmov_reg(Cpu& c, const Insn& i) {
  const T v = alu::condition(i.misc, c.flags) ? c.reg<T>(i.src) : c.reg<T>(i.dst);
  c.set_reg<T>(i.dst, v);
  return Step::next;
}
template <class T>
Step cmov_mem(Cpu& c, const Insn& i) {
  T v;
  if (!c.load<T>(i, v)) return c.failed();  // the load happens whatever the condition
  c.set_reg<T>(i.dst, alu::condition(i.misc, c.flags) ? v : c.reg<T>(i.dst));
  return Step::next;
}
Step setcc_reg(Cpu& c, const Insn& i) {
  c.set_reg<u8>(i.dst, alu::condition(i.misc, c.flags));
  return Step::next;
}
Step setcc_mem(Cpu& c, const Insn& i) {
  return c.store<u8>(i, alu::condition(i.misc, c.flags)) ? Step::next : c.failed();
}

bool bind_conditional(const Decoded& d, Insn& out) {
  out.misc = d.info.opcode & 15;
  const auto& a = d.operands[0];
  if (d.info.meta.category == ZYDIS_CATEGORY_SETCC) {
    if (!is_mem(a)) out.dst = slot_of(a.reg.value);
    out.fn = is_mem(a) ? setcc_mem : setcc_reg;
    return true;
  }
  const auto& b = d.operands[1];
  out.dst = slot_of(a.reg.value);
  if (!is_mem(b)) out.src = slot_of(b.reg.value);
  const unsigned size = size_log2(a.size);
  out.fn = is_mem(b) ? BHYVE_BY_SIZE(cmov_mem)[size] : BHYVE_BY_SIZE(cmov_reg)[size];
  return true;
}

template <class T>
Step xchg_rr(Cpu& c, const Insn& i) {
  const T a = c.reg<T>(i.dst), b = c.reg<T>(i.src);
  c.set_reg<T>(i.dst, b);
  c.set_reg<T>(i.src, a);
  return Step::next;
}
template <class T>
Step bswap(Cpu& c, const Insn& i) {
  T v = c.reg<T>(i.dst);
  if constexpr (sizeof(T) == 8)
    asm("bswap %0" : "+r"(v));
  else if constexpr (sizeof(T) == 4)
    asm("bswap %0" : "+r"(v));
  else
    v = 0;  // undefined by the SDM; what processors do
  c.set_reg<T>(i.dst, v);
  return Step::next;
}
template <class T>
T swapped(T v) {
  if constexpr (sizeof(T) == 2) return static_cast<T>(v << 8 | v >> 8);
  else if constexpr (sizeof(T) == 4) return __builtin_bswap32(v);
  else if constexpr (sizeof(T) == 8) return __builtin_bswap64(v);
  else return v;
}
template <class T>
Step movbe_load(Cpu& c, const Insn& i) {
  T v;
  if (!c.load<T>(i, v)) return c.failed();
  c.set_reg<T>(i.dst, swapped(v));
  return Step::next;
}
template <class T>
Step movbe_store(Cpu& c, const Insn& i) {
  return c.store<T>(i, swapped(c.reg<T>(i.src))) ? Step::next : c.failed();
}

// CBW/CWDE/CDQE and CWD/CDQ/CQO; size is the destination's.
template <class Half, class Whole>
Step widen(Cpu& c, const Insn&) {
  c.set_reg<Whole>(slot::of(0), static_cast<Whole>(c.reg<Half>(slot::of(0))));
  return Step::next;
}
template <class T>
Step spread(Cpu& c, const Insn&) {
  const T a = c.reg<T>(slot::of(0));
  c.set_reg<T>(slot::of(2), a < 0 ? T{-1} : T{0});
  return Step::next;
}

Step xlat(Cpu& c, const Insn& i) {
  u64 ea = c.r(x86::Gpr::rbx) + c.reg<u8>(slot::of(0));
  if (i.address_size == 2) ea = static_cast<u32>(ea);
  if (i.address_size == 1) ea = static_cast<u16>(ea);
  u64 la;
  u8 v;
  if (!c.linear(static_cast<x86::Seg>(+i.seg), ea, 1, false, la) || !c.read<u8>(la, v))
    return c.failed();
  c.set_reg<u8>(slot::of(0), v);
  return Step::next;
}

/// The operand is implicit: only the address size and the segment can be chosen.
void bind_xlat(const Decoded& d, Insn& out) {
  out.address_size = d.info.address_width == 64 ? 3 : d.info.address_width == 32 ? 2 : 1;
  for (unsigned n = 0; n < d.info.operand_count; ++n)
    if (is_mem(d.operands[n]))
      out.seg = static_cast<u8>(d.operands[n].mem.segment - ZYDIS_REGISTER_ES) & 7;
  out.fn = xlat;
}

Step nop(Cpu&, const Insn&) { return Step::next; }
Step lahf(Cpu& c, const Insn&) {
  c.set_reg<u8>(1, static_cast<u8>(c.rflags()));
  return Step::next;
}
Step sahf(Cpu& c, const Insn&) {
  c.flags = static_cast<PackedFlags>((c.reg<u8>(1) & 0xd5) << 8 | 0x200 | (c.flags & 1));
  return Step::next;
}
Step clc(Cpu& c, const Insn&) { c.flags &= 0xfeff; return Step::next; }
Step stc(Cpu& c, const Insn&) { c.flags |= 0x100; return Step::next; }
Step cmc(Cpu& c, const Insn&) { c.flags ^= 0x100; return Step::next; }
Step cld(Cpu& c, const Insn&) { c.sysflags &= ~x86::rflags::df; return Step::next; }
Step std_(Cpu& c, const Insn&) { c.sysflags |= x86::rflags::df; return Step::next; }
Step salc(Cpu& c, const Insn&) {
  c.set_reg<u8>(slot::of(0), c.flags & 0x100 ? 0xff : 0);
  return Step::next;
}

struct Plain final {
  ZydisMnemonic mnemonic;
  Handler fn;
};
constexpr Plain plain[] = {
    {ZYDIS_MNEMONIC_NOP, nop},       {ZYDIS_MNEMONIC_LAHF, lahf},   {ZYDIS_MNEMONIC_SAHF, sahf},
    {ZYDIS_MNEMONIC_CLC, clc},       {ZYDIS_MNEMONIC_STC, stc},     {ZYDIS_MNEMONIC_CMC, cmc},
    {ZYDIS_MNEMONIC_CLD, cld},       {ZYDIS_MNEMONIC_STD, std_},    {ZYDIS_MNEMONIC_SALC, salc},
    {ZYDIS_MNEMONIC_CBW, widen<i8, i16>},  {ZYDIS_MNEMONIC_CWDE, widen<i16, i32>},
    {ZYDIS_MNEMONIC_CDQE, widen<i32, i64>}, {ZYDIS_MNEMONIC_CWD, spread<i16>},
    {ZYDIS_MNEMONIC_CDQ, spread<i32>}, {ZYDIS_MNEMONIC_CQO, spread<i64>},
    {ZYDIS_MNEMONIC_ENDBR32, nop},   {ZYDIS_MNEMONIC_ENDBR64, nop},
    {ZYDIS_MNEMONIC_PREFETCHT0, nop}, {ZYDIS_MNEMONIC_PREFETCHT1, nop},
    {ZYDIS_MNEMONIC_PREFETCHT2, nop}, {ZYDIS_MNEMONIC_PREFETCHNTA, nop},
    {ZYDIS_MNEMONIC_PREFETCHW, nop}, {ZYDIS_MNEMONIC_PREFETCH, nop},
    {ZYDIS_MNEMONIC_PREFETCHWT1, nop}, {ZYDIS_MNEMONIC_CLDEMOTE, nop},
    {ZYDIS_MNEMONIC_RDSSPD, nop}, {ZYDIS_MNEMONIC_RDSSPQ, nop},
};

Step mfence(Cpu&, const Insn&) {
  asm volatile("mfence" ::: "memory");
  return Step::next;
}
Step lfence(Cpu&, const Insn&) {
  asm volatile("lfence" ::: "memory");
  return Step::next;
}
Step sfence(Cpu&, const Insn&) {
  asm volatile("sfence" ::: "memory");
  return Step::next;
}

}  // namespace

bool bind_move(const Decoded& d, Insn& out) {
  const auto& a = d.operands[0];
  const unsigned size = size_log2(a.size);
  switch (d.info.meta.category) {
    case ZYDIS_CATEGORY_SETCC:
      return bind_conditional(d, out);
    case ZYDIS_CATEGORY_CMOV:
      return bind_conditional(d, out);
    case ZYDIS_CATEGORY_NOP:
    case ZYDIS_CATEGORY_WIDENOP:
    case ZYDIS_CATEGORY_PREFETCH:
      out.fn = nop;
      return true;
    default: break;
  }
  switch (d.info.mnemonic) {
    case ZYDIS_MNEMONIC_MOV: return bind_mov(d, out);
    case ZYDIS_MNEMONIC_MOVZX: return bind_extend(d, out, zero_extend);
    case ZYDIS_MNEMONIC_MOVSX:
    case ZYDIS_MNEMONIC_MOVSXD:
      // MOVSXD without REX.W copies: 16 or 32 bits to as many.
      if (a.size == d.operands[1].size) return bind_mov(d, out);
      if (d.info.mnemonic == ZYDIS_MNEMONIC_MOVSXD && a.size == 16) return bind_mov(d, out);
      return bind_extend(d, out, sign_extend);
    case ZYDIS_MNEMONIC_LEA:
      out.dst = slot_of(a.reg.value);
      out.fn = BHYVE_BY_SIZE(lea)[size];
      return true;
    case ZYDIS_MNEMONIC_XCHG:
      if (is_mem(a) || is_mem(d.operands[1])) return false;
      out.dst = slot_of(a.reg.value);
      out.src = slot_of(d.operands[1].reg.value);
      out.fn = BHYVE_BY_SIZE(xchg_rr)[size];
      return true;
    case ZYDIS_MNEMONIC_BSWAP:
      out.dst = slot_of(a.reg.value);
      out.fn = BHYVE_BY_SIZE(bswap)[size];
      return true;
    case ZYDIS_MNEMONIC_MOVBE:
      if (!d.model->has(CpuModel::Feature::movbe)) return false;
      if (is_mem(a)) out.src = slot_of(d.operands[1].reg.value);
      else out.dst = slot_of(a.reg.value);
      out.fn = is_mem(a) ? BHYVE_BY_SIZE(movbe_store)[size] : BHYVE_BY_SIZE(movbe_load)[size];
      return true;
    case ZYDIS_MNEMONIC_MOVNTI:
      out.src = slot_of(d.operands[1].reg.value);
      out.fn = BHYVE_BY_SIZE(mov_store)[size];
      return true;
    case ZYDIS_MNEMONIC_XLAT: bind_xlat(d, out); return true;
    case ZYDIS_MNEMONIC_MFENCE: out.fn = mfence; return true;
    case ZYDIS_MNEMONIC_LFENCE: out.fn = lfence; return true;
    case ZYDIS_MNEMONIC_SFENCE: out.fn = sfence; return true;
    default: break;
  }
  for (const Plain& p : plain) {
    if (p.mnemonic != d.info.mnemonic) continue;
    out.fn = p.fn;
    return true;
  }
  return false;
}

}  // namespace bhyve::soft
