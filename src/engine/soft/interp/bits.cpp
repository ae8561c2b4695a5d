// BT, BTS, BTR, BTC, BSF, BSR, and the counting instructions.
#include "engine/soft/interp/alu_ops.hpp"
#include "engine/soft/interp/tables.hpp"

namespace bhyve::soft {

namespace {

#define BHYVE_BIT_TEST(Name, text, changes)                                              \
  struct Name final {                                                                    \
    static constexpr bool writes = changes;                                              \
    template <class T>                                                                   \
    static T run(T a, T n, PackedFlags& f) {                                             \
      u32 ax = f;                                                                        \
      asm(BHYVE_FLAGS_IN text " %[n], %[a]" BHYVE_FLAGS_OUT                              \
          : [a] "+r"(a), "+a"(ax)                                                        \
          : [n] "r"(n)                                                                   \
          : "cc");                                                                       \
      f = static_cast<PackedFlags>(ax);                                                  \
      return a;                                                                          \
    }                                                                                    \
  }
BHYVE_BIT_TEST(Bt, "bt", false);
BHYVE_BIT_TEST(Bts, "bts", true);
BHYVE_BIT_TEST(Btr, "btr", true);
BHYVE_BIT_TEST(Btc, "btc", true);

template <class T>
T changed_bit(const Bts&, T a, T m) { return a | m; }
template <class T>
T changed_bit(const Btr&, T a, T m) { return a & static_cast<T>(~m); }
template <class T>
T changed_bit(const Btc&, T a, T m) { return a ^ m; }

// misc 1: the bit number is imm.
template <class T>
T bit_number(const Cpu& c, const Insn& i) {
  return i.misc ? static_cast<T>(i.imm) : c.reg<T>(i.src);
}

template <class Op, class T>
Step bit_reg(Cpu& c, const Insn& i) {
  const T v = Op::template run<T>(c.reg<T>(i.dst), bit_number<T>(c, i), c.flags);
  if constexpr (Op::writes) c.set_reg<T>(i.dst, v);
  return Step::next;
}

/// A register bit number may reach outside of the operand: the address moves with it (SDM vol. 2,
/// BT).
template <class T>
bool bit_address(Cpu& c, const Insn& i, bool write, u64& la) {
  u64 ea = c.effective_address(i);
  if (!i.misc) {
    using S = std::make_signed_t<T>;
    constexpr unsigned log2_bits = sizeof(T) == 8 ? 6 : sizeof(T) == 4 ? 5 : 4;
    const i64 n = static_cast<S>(c.reg<T>(i.src));
    ea += static_cast<u64>((n >> log2_bits) * static_cast<i64>(sizeof(T)));
    if (i.address_size == 2) ea = static_cast<u32>(ea);
    if (i.address_size == 1) ea = static_cast<u16>(ea);
  }
  return c.linear(static_cast<x86::Seg>(+i.seg), ea, sizeof(T), write, la);
}

template <class Op, class T>
Step bit_mem(Cpu& c, const Insn& i) {
  u64 la;
  const auto seg = static_cast<x86::Seg>(+i.seg);
  if (!bit_address<T>(c, i, Op::writes, la)) return c.failed();
  const T n = bit_number<T>(c, i);
  T a;
  if constexpr (Op::writes)
    if (!c.direct(la, sizeof(T), true) && !c.probe_write(la, sizeof(T), seg)) return c.failed();
  if (!c.read<T>(la, a, seg)) return c.failed();
  PackedFlags f = c.flags;
  const T v = Op::template run<T>(a, n, f);
  if constexpr (Op::writes)
    if (!c.write<T>(la, v, seg)) return c.failed();
  c.flags = f;
  return Step::next;
}

template <class Op, class T>
Step bit_lock(Cpu& c, const Insn& i) {
  u64 la;
  const auto seg = static_cast<x86::Seg>(+i.seg);
  if (!bit_address<T>(c, i, true, la)) return c.failed();
  const T n = bit_number<T>(c, i);
  const T mask = static_cast<T>(T{1} << (n & (sizeof(T) * 8 - 1)));
  T old;
  const auto change = [&](T* p) {
    old = __atomic_load_n(p, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(p, &old, changed_bit(Op{}, old, mask), false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {}
  };
  if (!modify_locked<T>(c, la, seg, change)) return c.failed();
  Op::template run<T>(old, n, c.flags);
  return Step::next;
}

struct BitTable final {
  Handler fn[3][3];
};
#define BHYVE_BIT_ROW(f, Op) \
  { f<Op, u16>, f<Op, u32>, f<Op, u64> }
constexpr BitTable bt_table = {{BHYVE_BIT_ROW(bit_reg, Bt), BHYVE_BIT_ROW(bit_mem, Bt),
                                BHYVE_BIT_ROW(bit_mem, Bt)}},
                   bts_table = {{BHYVE_BIT_ROW(bit_reg, Bts), BHYVE_BIT_ROW(bit_mem, Bts),
                                 BHYVE_BIT_ROW(bit_lock, Bts)}},
                   btr_table = {{BHYVE_BIT_ROW(bit_reg, Btr), BHYVE_BIT_ROW(bit_mem, Btr),
                                 BHYVE_BIT_ROW(bit_lock, Btr)}},
                   btc_table = {{BHYVE_BIT_ROW(bit_reg, Btc), BHYVE_BIT_ROW(bit_mem, Btc),
                                 BHYVE_BIT_ROW(bit_lock, Btc)}};

const BitTable* bit_table(ZydisMnemonic m) {
  switch (m) {
    case ZYDIS_MNEMONIC_BT: return &bt_table;
    case ZYDIS_MNEMONIC_BTS: return &bts_table;
    case ZYDIS_MNEMONIC_BTR: return &btr_table;
    case ZYDIS_MNEMONIC_BTC: return &btc_table;
    default: return nullptr;
  }
}

/// BSF, BSR, TZCNT, LZCNT, POPCNT. BSF and BSR of zero leave the destination as it is, as all
/// processors do (documented by AMD; by Intel since 2023), the 32-bit forms included on AMD hosts:
/// the host's own instruction decides.
#define BHYVE_SCAN(Name, text)                                                           \
  struct Name final {                                                                    \
    template <class T>                                                                   \
    static T run(T a, T old, PackedFlags& f) {                                           \
      u32 ax = f;                                                                        \
      asm(BHYVE_FLAGS_IN text " %[a], %[d]" BHYVE_FLAGS_OUT                              \
          : [d] "+r"(old), "+a"(ax)                                                      \
          : [a] "r"(a)                                                                   \
          : "cc");                                                                       \
      f = static_cast<PackedFlags>(ax);                                                  \
      return old;                                                                        \
    }                                                                                    \
    static u64 run32(u32 a, u64 old, PackedFlags& f) {                                   \
      u32 ax = f;                                                                        \
      asm(BHYVE_FLAGS_IN text " %k[a], %k[d]" BHYVE_FLAGS_OUT                            \
          : [d] "+r"(old), "+a"(ax)                                                      \
          : [a] "r"(a)                                                                   \
          : "cc");                                                                       \
      f = static_cast<PackedFlags>(ax);                                                  \
      return old;                                                                        \
    }                                                                                    \
  }
BHYVE_SCAN(Bsf, "bsf");
BHYVE_SCAN(Bsr, "bsr");
BHYVE_SCAN(Tzcnt, "tzcnt");
BHYVE_SCAN(Lzcnt, "lzcnt");
BHYVE_SCAN(Popcnt, "popcnt");

template <class Op, class T>
Step scan_value(Cpu& c, const Insn& i, T a) {
  if constexpr (sizeof(T) == 4)
    c.set_reg<u64>(i.dst, Op::run32(a, c.reg<u64>(i.dst), c.flags));
  else
    c.set_reg<T>(i.dst, Op::template run<T>(a, c.reg<T>(i.dst), c.flags));
  return Step::next;
}
template <class Op, class T>
Step scan_reg(Cpu& c, const Insn& i) { return scan_value<Op, T>(c, i, c.reg<T>(i.src)); }
template <class Op, class T>
Step scan_mem(Cpu& c, const Insn& i) {
  T a;
  if (!c.load<T>(i, a)) return c.failed();
  return scan_value<Op, T>(c, i, a);
}
struct ScanTable final {
  Handler fn[2][3];
};
constexpr ScanTable bsf_table = {{BHYVE_BIT_ROW(scan_reg, Bsf), BHYVE_BIT_ROW(scan_mem, Bsf)}},
                    bsr_table = {{BHYVE_BIT_ROW(scan_reg, Bsr), BHYVE_BIT_ROW(scan_mem, Bsr)}},
                    tzcnt_table = {{BHYVE_BIT_ROW(scan_reg, Tzcnt),
                                    BHYVE_BIT_ROW(scan_mem, Tzcnt)}},
                    lzcnt_table = {{BHYVE_BIT_ROW(scan_reg, Lzcnt),
                                    BHYVE_BIT_ROW(scan_mem, Lzcnt)}},
                    popcnt_table = {{BHYVE_BIT_ROW(scan_reg, Popcnt),
                                     BHYVE_BIT_ROW(scan_mem, Popcnt)}};

/// LZCNT and TZCNT on a CPU model without them are BSR and BSF, as on real processors.
const ScanTable* scan_table(const Decoded& d) {
  using F = CpuModel::Feature;
  switch (d.info.mnemonic) {
    case ZYDIS_MNEMONIC_BSF: return &bsf_table;
    case ZYDIS_MNEMONIC_BSR: return &bsr_table;
    case ZYDIS_MNEMONIC_TZCNT: return d.model->has(F::bmi1) ? &tzcnt_table : &bsf_table;
    case ZYDIS_MNEMONIC_LZCNT: return d.model->has(F::lzcnt) ? &lzcnt_table : &bsr_table;
    case ZYDIS_MNEMONIC_POPCNT: return d.model->has(F::popcnt) ? &popcnt_table : nullptr;
    default: return nullptr;
  }
}

}  // namespace

bool bind_bits(const Decoded& d, Insn& out) {
  const auto& a = d.operands[0];
  if (const BitTable* t = bit_table(d.info.mnemonic)) {
    const auto& n = d.operands[1];
    if (is_imm(n)) {
      out.misc = 1;
      out.imm = n.imm.value.u & (a.size - 1u);
    } else {
      out.src = slot_of(n.reg.value);
    }
    if (!is_mem(a)) out.dst = slot_of(a.reg.value);
    out.fn = t->fn[is_mem(a) ? (d.lock() ? 2 : 1) : 0][size_log2(a.size) - 1];
    return true;
  }
  const ScanTable* t = scan_table(d);
  if (!t) return false;
  const auto& b = d.operands[1];
  out.dst = slot_of(a.reg.value);
  if (!is_mem(b)) out.src = slot_of(b.reg.value);
  out.fn = t->fn[is_mem(b)][size_log2(a.size) - 1];
  return true;
}

}  // namespace bhyve::soft
