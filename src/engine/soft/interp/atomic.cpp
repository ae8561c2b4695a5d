// XCHG with memory, XADD, CMPXCHG, CMPXCHG8B/16B. (LOCK forms of the others are beside them.)
#include "engine/soft/interp/alu_ops.hpp"
#include "engine/soft/interp/tables.hpp"

namespace bhyve::soft {

namespace {

using x86::Gpr;

/// XCHG with memory is locked with or without the prefix.
template <class T>
Step xchg_mem(Cpu& c, const Insn& i) {
  const T mine = c.reg<T>(i.src);
  T old{};
  if (!modify_locked<T>(c, i, [&](T* p) { old = __atomic_exchange_n(p, mine, __ATOMIC_SEQ_CST); }))
    return c.failed();
  c.set_reg<T>(i.src, old);
  return Step::next;
}

template <class T>
Step xadd_reg(Cpu& c, const Insn& i) {
  const T a = c.reg<T>(i.dst), b = c.reg<T>(i.src);
  const T sum = alu::Add::run<T>(a, b, c.flags);
  c.set_reg<T>(i.src, a);
  c.set_reg<T>(i.dst, sum);
  return Step::next;
}
template <class T>
Step xadd_mem(Cpu& c, const Insn& i) {
  const T b = c.reg<T>(i.src);
  T old{};
  const bool done = i.prefix & static_cast<u8>(Prefix::lock)
                        ? modify_locked<T>(c, i,
                                           [&](T* p) {
                                             old = __atomic_fetch_add(p, b, __ATOMIC_SEQ_CST);
                                           })
                        : modify<T>(c, i, [&](T a) {
                            old = a;
                            return static_cast<T>(a + b);
                          });
  if (!done) return c.failed();
  alu::Add::run<T>(old, b, c.flags);
  c.set_reg<T>(i.src, old);
  return Step::next;
}

template <class T>
Step cmpxchg_reg(Cpu& c, const Insn& i) {
  const T a = c.reg<T>(slot::of(0)), d = c.reg<T>(i.dst);
  alu::Cmp::run<T>(a, d, c.flags);
  if (a == d)
    c.set_reg<T>(i.dst, c.reg<T>(i.src));
  else
    c.set_reg<T>(slot::of(0), d);
  return Step::next;
}
/// The destination is written in any case (SDM vol. 2, CMPXCHG): it must be writable.
template <class T>
Step cmpxchg_mem(Cpu& c, const Insn& i) {
  const T a = c.reg<T>(slot::of(0)), b = c.reg<T>(i.src);
  T old = a;
  const bool done = i.prefix & static_cast<u8>(Prefix::lock)
                        ? modify_locked<T>(c, i,
                                           [&](T* p) {
                                             old = a;
                                             __atomic_compare_exchange_n(p, &old, b, false,
                                                                         __ATOMIC_SEQ_CST,
                                                                         __ATOMIC_SEQ_CST);
                                           })
                        : modify<T>(c, i, [&](T v) {
                            old = v;
                            return v == a ? b : v;
                          });
  if (!done) return c.failed();
  alu::Cmp::run<T>(a, old, c.flags);
  // On success the accumulator keeps its upper half, even for 32 bits.
  if (old != a) c.set_reg<T>(slot::of(0), old);
  return Step::next;
}

void set_zf(Cpu& c, bool on) {
  c.flags = static_cast<PackedFlags>((c.flags & ~0x4000) | (on ? 0x4000 : 0));
}

Step cmpxchg8b(Cpu& c, const Insn& i) {
  const u64 expected = u64{c.reg<u32>(slot::of(2))} << 32 | c.reg<u32>(slot::of(0));
  const u64 desired = u64{c.reg<u32>(slot::of(1))} << 32 | c.reg<u32>(slot::of(3));
  u64 old = expected;
  if (!modify_locked<u64>(c, i, [&](u64* p) {
        old = expected;
        __atomic_compare_exchange_n(p, &old, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
      }))
    return c.failed();
  set_zf(c, old == expected);
  if (old != expected) {
    c.set_reg<u32>(slot::of(0), static_cast<u32>(old));
    c.set_reg<u32>(slot::of(2), static_cast<u32>(old >> 32));
  }
  return Step::next;
}

Step cmpxchg16b(Cpu& c, const Insn& i) {
  u64 la;
  const auto seg = static_cast<x86::Seg>(+i.seg);
  if (!c.linear(i, 16, true, la)) return c.failed();
  if (la & 15) return c.gp0();
  Cpu::LockedOperand at;
  if (!c.locked_operand(la, 16, seg, at)) return c.failed();
  if (!at.host) return c.gp0();  // no machine has 16-byte registers to lock
  u64& rax = c.r(Gpr::rax);
  u64& rdx = c.r(Gpr::rdx);
  u64 a = rax, d = rdx;
  bool equal;
  asm volatile("lock cmpxchg16b %[p]\n\tsete %[e]"
               : [p] "+m"(*reinterpret_cast<unsigned __int128*>(at.host)), [e] "=q"(equal), "+a"(a),
                 "+d"(d)
               : "b"(c.r(Gpr::rbx)), "c"(c.r(Gpr::rcx))
               : "cc", "memory");
  set_zf(c, equal);
  if (!equal) {
    rax = a;
    rdx = d;
  }
  return Step::next;
}

}  // namespace

bool bind_atomic(const Decoded& d, Insn& out) {
  const auto& a = d.operands[0];
  const auto& b = d.operands[1];
  const unsigned size = size_log2(a.size);
  switch (d.info.mnemonic) {
    case ZYDIS_MNEMONIC_XCHG:
      out.src = slot_of(is_mem(a) ? b.reg.value : a.reg.value);
      out.fn = BHYVE_BY_SIZE(xchg_mem)[size];
      return true;
    case ZYDIS_MNEMONIC_XADD:
      out.src = slot_of(b.reg.value);
      if (!is_mem(a)) out.dst = slot_of(a.reg.value);
      out.fn = is_mem(a) ? BHYVE_BY_SIZE(xadd_mem)[size] : BHYVE_BY_SIZE(xadd_reg)[size];
      return true;
    case ZYDIS_MNEMONIC_CMPXCHG:
      out.src = slot_of(b.reg.value);
      if (!is_mem(a)) out.dst = slot_of(a.reg.value);
      out.fn = is_mem(a) ? BHYVE_BY_SIZE(cmpxchg_mem)[size] : BHYVE_BY_SIZE(cmpxchg_reg)[size];
      return true;
    case ZYDIS_MNEMONIC_CMPXCHG8B: out.fn = cmpxchg8b; return true;
    case ZYDIS_MNEMONIC_CMPXCHG16B:
      if (!d.model->has(CpuModel::Feature::cx16)) return false;
      out.fn = cmpxchg16b;
      return true;
    default: return false;
  }
}

}  // namespace bhyve::soft
