// MOVS, STOS, LODS, SCAS, CMPS with REP. INS and OUTS are in system/.
#include "engine/soft/interp/alu_ops.hpp"
#include "engine/soft/interp/tables.hpp"

namespace bhyve::soft {

namespace {

using x86::Gpr;
using x86::Seg;

constexpr u8 any_rep = static_cast<u8>(Prefix::rep) | static_cast<u8>(Prefix::repne);

bool backwards(const Cpu& c) { return c.sysflags & x86::rflags::df; }

u64 masked(const Insn& i, u64 v) {
  return i.address_size == 3 ? v : i.address_size == 2 ? static_cast<u32>(v) : static_cast<u16>(v);
}
void advance(const Insn& i, u64& reg, i64 by) {
  const u64 v = masked(i, reg + static_cast<u64>(by));
  reg = i.address_size == 1 ? (reg & ~u64{0xffff}) | v : v;
}
template <class T>
i64 stride(const Cpu& c) { return backwards(c) ? -i64{sizeof(T)} : i64{sizeof(T)}; }

/// How many elements can be done at once by the host: forward, inside the page. No limit may lie in there,
/// nor the end of the addresses.
template <class T>
u64 elements_in_page(u64 la) { return (page_size - (la & page_mask)) / sizeof(T); }

bool fast(const Cpu& c, const Insn& i) {
  if (backwards(c) || !(i.prefix & any_rep)) return false;
  return i.ea == Ea::flat64 ||
         (c.flat32() && i.address_size == 2 && i.seg <= static_cast<u8>(Seg::ds));
}

/// One REP step is over: RCX went down by `n`. Says how the instruction goes on.
Step counted(Cpu& c, const Insn& i, u64 n) {
  if (!(i.prefix & any_rep)) return Step::next;
  advance(i, c.r(Gpr::rcx), -static_cast<i64>(n));
  return masked(i, c.r(Gpr::rcx)) ? Step::repeat : Step::next;
}
/// With ECX = 0 and 32-bit addresses in 64-bit mode, Intel's processors clear the upper half of RCX
/// all the same, and MOVS and STOS those of the pointers.
void clear_upper_half(const Cpu& c, const Insn& i, u64& pointer) {
  if (c.code64() && i.address_size == 2) pointer = static_cast<u32>(pointer);
}
bool exhausted(Cpu& c, const Insn& i) {
  if (!(i.prefix & any_rep) || masked(i, c.r(Gpr::rcx)) != 0) return false;
  clear_upper_half(c, i, c.r(Gpr::rcx));
  return true;
}

u64 source(Cpu& c, const Insn& i) { return masked(i, c.r(Gpr::rsi)); }
u64 destination(Cpu& c, const Insn& i) { return masked(i, c.r(Gpr::rdi)); }
Seg source_seg(const Insn& i) { return static_cast<Seg>(+i.seg); }

template <class T>
Step movs(Cpu& c, const Insn& i) {
  if (exhausted(c, i)) {
    clear_upper_half(c, i, c.r(Gpr::rsi));
    clear_upper_half(c, i, c.r(Gpr::rdi));
    return Step::next;
  }
  u64 from, to;
  if (!c.linear(source_seg(i), source(c, i), sizeof(T), false, from) ||
      !c.linear(Seg::es, destination(c, i), sizeof(T), true, to))
    return c.failed();
  if (fast(c, i)) {
    u64 n = masked(i, c.r(Gpr::rcx));
    if (const u64 m = elements_in_page<T>(from); m < n) n = m;
    if (const u64 m = elements_in_page<T>(to); m < n) n = m;
    const auto bytes = static_cast<unsigned>(n * sizeof(T));
    std::byte* src = n ? c.direct(from, bytes, false) : nullptr;
    std::byte* dst = src ? c.direct(to, bytes, true) : nullptr;
    if (dst) {
      // The same element size as the guest's: overlapping copies propagate alike.
      void *d = dst, *s = src;
      u64 count = n;
      if constexpr (sizeof(T) == 1) asm volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(count)::"memory");
      if constexpr (sizeof(T) == 2) asm volatile("rep movsw" : "+D"(d), "+S"(s), "+c"(count)::"memory");
      if constexpr (sizeof(T) == 4) asm volatile("rep movsl" : "+D"(d), "+S"(s), "+c"(count)::"memory");
      if constexpr (sizeof(T) == 8) asm volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(count)::"memory");
      advance(i, c.r(Gpr::rsi), bytes);
      advance(i, c.r(Gpr::rdi), bytes);
      return counted(c, i, n);
    }
  }
  T v;
  if (!c.read<T>(from, v, source_seg(i)) || !c.write<T>(to, v, Seg::es)) return c.failed();
  advance(i, c.r(Gpr::rsi), stride<T>(c));
  advance(i, c.r(Gpr::rdi), stride<T>(c));
  return counted(c, i, 1);
}

template <class T>
Step stos(Cpu& c, const Insn& i) {
  if (exhausted(c, i)) {
    clear_upper_half(c, i, c.r(Gpr::rdi));
    return Step::next;
  }
  u64 to;
  if (!c.linear(Seg::es, destination(c, i), sizeof(T), true, to)) return c.failed();
  const T v = c.reg<T>(slot::of(0));
  if (fast(c, i)) {
    u64 n = masked(i, c.r(Gpr::rcx));
    if (const u64 m = elements_in_page<T>(to); m < n) n = m;
    const auto bytes = static_cast<unsigned>(n * sizeof(T));
    if (std::byte* dst = n ? c.direct(to, bytes, true) : nullptr) {
      void* d = dst;
      u64 count = n;
      const u64 a = v;
      if constexpr (sizeof(T) == 1) asm volatile("rep stosb" : "+D"(d), "+c"(count) : "a"(a) : "memory");
      if constexpr (sizeof(T) == 2) asm volatile("rep stosw" : "+D"(d), "+c"(count) : "a"(a) : "memory");
      if constexpr (sizeof(T) == 4) asm volatile("rep stosl" : "+D"(d), "+c"(count) : "a"(a) : "memory");
      if constexpr (sizeof(T) == 8) asm volatile("rep stosq" : "+D"(d), "+c"(count) : "a"(a) : "memory");
      advance(i, c.r(Gpr::rdi), bytes);
      return counted(c, i, n);
    }
  }
  if (!c.write<T>(to, v, Seg::es)) return c.failed();
  advance(i, c.r(Gpr::rdi), stride<T>(c));
  return counted(c, i, 1);
}

template <class T>
Step lods(Cpu& c, const Insn& i) {
  if (exhausted(c, i)) return Step::next;
  u64 from;
  T v;
  if (!c.linear(source_seg(i), source(c, i), sizeof(T), false, from) ||
      !c.read<T>(from, v, source_seg(i)))
    return c.failed();
  c.set_reg<T>(slot::of(0), v);
  advance(i, c.r(Gpr::rsi), stride<T>(c));
  return counted(c, i, 1);
}

/// REPE and REPNE end when ZF says so.
Step compared(Cpu& c, const Insn& i, u64 n) {
  const Step st = counted(c, i, n);
  if (st != Step::repeat) return st;
  const bool zf = c.flags & 0x4000;
  const bool while_equal = i.prefix & static_cast<u8>(Prefix::rep);
  return zf == while_equal ? Step::repeat : Step::next;
}

template <class T>
Step scas(Cpu& c, const Insn& i) {
  if (exhausted(c, i)) return Step::next;
  const T a = c.reg<T>(slot::of(0));
  const bool while_equal = i.prefix & static_cast<u8>(Prefix::rep);
  u64 to;
  if (!c.linear(Seg::es, destination(c, i), sizeof(T), false, to)) return c.failed();
  if (fast(c, i)) {
    u64 n = masked(i, c.r(Gpr::rcx));
    if (const u64 m = elements_in_page<T>(to); m < n) n = m;
    if (const std::byte* p = n ? c.direct(to, static_cast<unsigned>(n * sizeof(T)), false) : nullptr) {
      u64 done = 0;
      T v{};
      do {
        v = mem::ram_load<T>(p + done * sizeof(T));
        ++done;
      } while (done < n && (v == a) == while_equal);
      alu::Cmp::run<T>(a, v, c.flags);
      advance(i, c.r(Gpr::rdi), static_cast<i64>(done * sizeof(T)));
      return compared(c, i, done);
    }
  }
  T v;
  if (!c.read<T>(to, v, Seg::es)) return c.failed();
  alu::Cmp::run<T>(a, v, c.flags);
  advance(i, c.r(Gpr::rdi), stride<T>(c));
  return compared(c, i, 1);
}

template <class T>
Step cmps(Cpu& c, const Insn& i) {
  if (exhausted(c, i)) return Step::next;
  const bool while_equal = i.prefix & static_cast<u8>(Prefix::rep);
  u64 from, to;
  if (!c.linear(source_seg(i), source(c, i), sizeof(T), false, from) ||
      !c.linear(Seg::es, destination(c, i), sizeof(T), false, to))
    return c.failed();
  if (fast(c, i)) {
    u64 n = masked(i, c.r(Gpr::rcx));
    if (const u64 m = elements_in_page<T>(from); m < n) n = m;
    if (const u64 m = elements_in_page<T>(to); m < n) n = m;
    const auto bytes = static_cast<unsigned>(n * sizeof(T));
    const std::byte* a = n ? c.direct(from, bytes, false) : nullptr;
    const std::byte* b = a ? c.direct(to, bytes, false) : nullptr;
    if (b) {
      u64 done = 0;
      T x{}, y{};
      do {
        x = mem::ram_load<T>(a + done * sizeof(T));
        y = mem::ram_load<T>(b + done * sizeof(T));
        ++done;
      } while (done < n && (x == y) == while_equal);
      alu::Cmp::run<T>(x, y, c.flags);
      advance(i, c.r(Gpr::rsi), static_cast<i64>(done * sizeof(T)));
      advance(i, c.r(Gpr::rdi), static_cast<i64>(done * sizeof(T)));
      return compared(c, i, done);
    }
  }
  T x, y;
  if (!c.read<T>(from, x, source_seg(i)) || !c.read<T>(to, y, Seg::es)) return c.failed();
  alu::Cmp::run<T>(x, y, c.flags);
  advance(i, c.r(Gpr::rsi), stride<T>(c));
  advance(i, c.r(Gpr::rdi), stride<T>(c));
  return compared(c, i, 1);
}

struct StringOp final {
  ZydisMnemonic mnemonic;
  Handler fn;
};
constexpr StringOp string_ops[] = {
    {ZYDIS_MNEMONIC_MOVSB, movs<u8>}, {ZYDIS_MNEMONIC_MOVSW, movs<u16>},
    {ZYDIS_MNEMONIC_MOVSD, movs<u32>}, {ZYDIS_MNEMONIC_MOVSQ, movs<u64>},
    {ZYDIS_MNEMONIC_STOSB, stos<u8>}, {ZYDIS_MNEMONIC_STOSW, stos<u16>},
    {ZYDIS_MNEMONIC_STOSD, stos<u32>}, {ZYDIS_MNEMONIC_STOSQ, stos<u64>},
    {ZYDIS_MNEMONIC_LODSB, lods<u8>}, {ZYDIS_MNEMONIC_LODSW, lods<u16>},
    {ZYDIS_MNEMONIC_LODSD, lods<u32>}, {ZYDIS_MNEMONIC_LODSQ, lods<u64>},
    {ZYDIS_MNEMONIC_SCASB, scas<u8>}, {ZYDIS_MNEMONIC_SCASW, scas<u16>},
    {ZYDIS_MNEMONIC_SCASD, scas<u32>}, {ZYDIS_MNEMONIC_SCASQ, scas<u64>},
    {ZYDIS_MNEMONIC_CMPSB, cmps<u8>}, {ZYDIS_MNEMONIC_CMPSW, cmps<u16>},
    {ZYDIS_MNEMONIC_CMPSD, cmps<u32>}, {ZYDIS_MNEMONIC_CMPSQ, cmps<u64>},
};

}  // namespace

bool bind_string(const Decoded& d, Insn& out) {
  if (d.info.meta.category != ZYDIS_CATEGORY_STRINGOP) return false;  // MOVSD, CMPSD of SSE2
  for (const StringOp& op : string_ops) {
    if (op.mnemonic != d.info.mnemonic) continue;
    out.fn = op.fn;
    // The operands are implicit; the only free choice is the source's segment.
    const bool long64 = d.code_size == CodeSize::bits64;
    out.address_size = d.info.address_width == 64 ? 3 : d.info.address_width == 32 ? 2 : 1;
    out.ea = long64 && d.info.address_width == 64 ? Ea::flat64 : Ea::general;
    out.seg = 3;
    const auto override = d.info.attributes;
    if (override & ZYDIS_ATTRIB_HAS_SEGMENT_ES) out.seg = 0;
    if (override & ZYDIS_ATTRIB_HAS_SEGMENT_CS) out.seg = 1;
    if (override & ZYDIS_ATTRIB_HAS_SEGMENT_SS) out.seg = 2;
    if (override & ZYDIS_ATTRIB_HAS_SEGMENT_FS) out.seg = 4;
    if (override & ZYDIS_ATTRIB_HAS_SEGMENT_GS) out.seg = 5;
    return true;
  }
  return false;
}

bool bind_integer(const Decoded& d, Insn& out) {
  return bind_alu(d, out) || bind_move(d, out) || bind_branch(d, out) || bind_stack(d, out) ||
         bind_shift(d, out) || bind_bits(d, out) || bind_muldiv(d, out) || bind_string(d, out) ||
         bind_atomic(d, out) || bind_decimal(d, out);
}

}  // namespace bhyve::soft
