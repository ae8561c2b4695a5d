// MUL, IMUL, DIV, IDIV and the decimal adjustments.
#include "engine/soft/interp/alu_ops.hpp"
#include "engine/soft/interp/tables.hpp"

namespace bhyve::soft {

namespace {

using u128 = unsigned __int128;
using i128 = __int128;

// One-operand forms on AL/AX/EAX/RAX and AH/DX/EDX/RDX; false means #DE. The host's instruction
// runs only when it cannot fault.
#define BHYVE_WIDE(text)                                                                        \
  template <class T>                                                                            \
  static void host(T& lo, T& hi, T b, PackedFlags& f) {                                         \
    u64 flag_word = f;                                                                          \
    u64 a = lo, d = hi;                                                                         \
    if constexpr (sizeof(T) == 1) {                                                             \
      u64 ax = u64{hi} << 8 | lo;                                                               \
      asm("mov %[f], %%rax\n\taddb $0x7f, %%al\n\tsahf\n\tmov %[x], %%rax\n\t" text " %b[b]\n\t" \
          "mov %%rax, %[x]\n\tlahf\n\tseto %%al\n\tmov %%rax, %[f]"                             \
          : [x] "+&r"(ax), [f] "+&r"(flag_word)                                                 \
          : [b] "r"(u64{b})                                                                     \
          : "rax", "cc");                                                                       \
      a = ax & 0xff;                                                                            \
      d = ax >> 8 & 0xff;                                                                       \
    } else {                                                                                    \
      asm("mov %[f], %%rax\n\taddb $0x7f, %%al\n\tsahf\n\tmov %[x], %%rax\n\t" text " %[b]\n\t"  \
          "mov %%rax, %[x]\n\tlahf\n\tseto %%al\n\tmov %%rax, %[f]"                             \
          : [x] "+&r"(a), [f] "+&r"(flag_word), "+&d"(d)                                        \
          : [b] "r"(b)                                                                          \
          : "rax", "cc");                                                                       \
    }                                                                                           \
    lo = static_cast<T>(a);                                                                     \
    hi = static_cast<T>(d);                                                                     \
    f = static_cast<PackedFlags>(flag_word);                                                    \
  }

struct Mul final {
  BHYVE_WIDE("mul")
  template <class T>
  static bool possible(T, T, T) { return true; }
};
struct Imul final {
  BHYVE_WIDE("imul")
  template <class T>
  static bool possible(T, T, T) { return true; }
};
struct Div final {
  BHYVE_WIDE("div")
  template <class T>
  static bool possible(T, T hi, T b) { return b != 0 && hi < b; }
};
struct Idiv final {
  BHYVE_WIDE("idiv")
  template <class T>
  static bool possible(T lo, T hi, T b) {
    using S = std::make_signed_t<T>;
    if (b == 0) return false;
    constexpr unsigned bits = sizeof(T) * 8;
    const i128 dividend = static_cast<i128>(static_cast<S>(hi)) * (i128{1} << bits) +
                          static_cast<i128>(static_cast<u128>(lo));
    const i128 divisor = static_cast<S>(b);
    // |quotient| must fit: compare magnitudes without dividing (no overflow: |dividend| <= 2^127).
    const u128 magnitude = dividend < 0 ? -static_cast<u128>(dividend) : static_cast<u128>(dividend);
    const u128 by = divisor < 0 ? -static_cast<u128>(divisor) : static_cast<u128>(divisor);
    const bool negative = (dividend < 0) != (divisor < 0);
    const u128 limit = (u128{1} << (bits - 1)) + (negative ? 1 : 0);
    return magnitude < limit * by;  // limit * by <= 2^127
  }
};

template <class Op, class T>
Step wide(Cpu& c, T b) {
  constexpr u8 lo_slot = 0;
  constexpr u8 hi_slot = sizeof(T) == 1 ? 1 : slot::of(2);
  T lo = c.reg<T>(lo_slot), hi = c.reg<T>(hi_slot);
  if (!Op::template possible<T>(lo, hi, b)) return c.raise(x86::Vector::de);
  Op::template host<T>(lo, hi, b, c.flags);
  c.set_reg<T>(lo_slot, lo);
  c.set_reg<T>(hi_slot, hi);
  return Step::next;
}
template <class Op, class T>
Step wide_reg(Cpu& c, const Insn& i) { return wide<Op, T>(c, c.reg<T>(i.src)); }
template <class Op, class T>
Step wide_mem(Cpu& c, const Insn& i) {
  T b;
  if (!c.load<T>(i, b)) return c.failed();
  return wide<Op, T>(c, b);
}

struct WideTable final {
  Handler fn[2][4];
};
#define BHYVE_WIDE_OP(Op)                                                             \
  WideTable {                                                                         \
    {                                                                                 \
      {wide_reg<Op, u8>, wide_reg<Op, u16>, wide_reg<Op, u32>, wide_reg<Op, u64>}, {  \
        wide_mem<Op, u8>, wide_mem<Op, u16>, wide_mem<Op, u32>, wide_mem<Op, u64>     \
      }                                                                               \
    }                                                                                 \
  }
constexpr WideTable mul_table = BHYVE_WIDE_OP(Mul), imul_table = BHYVE_WIDE_OP(Imul),
                    div_table = BHYVE_WIDE_OP(Div), idiv_table = BHYVE_WIDE_OP(Idiv);

template <class T>
T imul_host(T a, T b, PackedFlags& f) {
  u32 ax = f;
  asm(BHYVE_FLAGS_IN "imul %[b], %[a]" BHYVE_FLAGS_OUT
      : [a] "+r"(a), "+a"(ax)
      : [b] "r"(b)
      : "cc");
  f = static_cast<PackedFlags>(ax);
  return a;
}

// IMUL dst, src[, imm]: misc 1 = the second factor is imm, 2 = it is in dst.
template <class T>
Step imul_reg(Cpu& c, const Insn& i) {
  const T b = i.misc == 1 ? static_cast<T>(i.imm) : c.reg<T>(i.dst);
  c.set_reg<T>(i.dst, imul_host<T>(c.reg<T>(i.src), b, c.flags));
  return Step::next;
}
template <class T>
Step imul_mem(Cpu& c, const Insn& i) {
  T a;
  if (!c.load<T>(i, a)) return c.failed();
  const T b = i.misc == 1 ? static_cast<T>(i.imm) : c.reg<T>(i.dst);
  c.set_reg<T>(i.dst, imul_host<T>(a, b, c.flags));
  return Step::next;
}

bool bind_imul(const Decoded& d, Insn& out) {
  const auto& b = d.operands[1];
  const unsigned size = size_log2(d.operands[0].size);
  out.dst = slot_of(d.operands[0].reg.value);
  if (!is_mem(b)) out.src = slot_of(b.reg.value);
  out.misc = 2;
  if (d.info.operand_count_visible == 3) {
    out.misc = 1;
    out.imm = d.operands[2].imm.value.u;
  }
  constexpr Handler table[2][3] = {{imul_reg<u16>, imul_reg<u32>, imul_reg<u64>},
                                   {imul_mem<u16>, imul_mem<u32>, imul_mem<u64>}};
  out.fn = table[is_mem(b)][size - 1];
  return true;
}

const WideTable* wide_table(ZydisMnemonic m) {
  switch (m) {
    case ZYDIS_MNEMONIC_MUL: return &mul_table;
    case ZYDIS_MNEMONIC_IMUL: return &imul_table;
    case ZYDIS_MNEMONIC_DIV: return &div_table;
    case ZYDIS_MNEMONIC_IDIV: return &idiv_table;
    default: return nullptr;
  }
}

}  // namespace

bool bind_muldiv(const Decoded& d, Insn& out) {
  const WideTable* t = wide_table(d.info.mnemonic);
  if (!t) return false;
  if (d.info.operand_count_visible > 1) return bind_imul(d, out);
  const auto& a = d.operands[0];
  if (!is_mem(a)) out.src = slot_of(a.reg.value);
  out.fn = t->fn[is_mem(a)][size_log2(a.size)];
  return true;
}

}  // namespace bhyve::soft
