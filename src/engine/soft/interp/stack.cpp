// PUSH, POP, PUSHA, POPA, ENTER, LEAVE. Segment registers and flags are in system/.
#include "engine/soft/interp/tables.hpp"

namespace bhyve::soft {

namespace {

using x86::Gpr;
using x86::Seg;

unsigned bytes_of(const Insn& i) { return 1u << i.size; }

Step push_reg(Cpu& c, const Insn& i) {
  return c.push(c.reg<u64>(i.src), bytes_of(i)) ? Step::next : c.failed();
}
Step push_reg64(Cpu& c, const Insn& i) {
  const u64 la = c.r(Gpr::rsp) - 8;
  if (!c.write<u64>(la, c.reg<u64>(i.src), Seg::ss)) return c.failed();
  c.r(Gpr::rsp) = la;
  return Step::next;
}
Step push_imm(Cpu& c, const Insn& i) {
  return c.push(i.imm, bytes_of(i)) ? Step::next : c.failed();
}
template <class T>
Step push_mem(Cpu& c, const Insn& i) {
  T v;
  if (!c.load<T>(i, v) || !c.push(v, sizeof(T))) return c.failed();
  return Step::next;
}

template <class T>
Step pop_reg(Cpu& c, const Insn& i) {
  u64 v;
  if (!c.peek(v, sizeof(T))) return c.failed();
  c.adjust_sp(sizeof(T));
  c.set_reg<T>(i.dst, static_cast<T>(v));
  return Step::next;
}
Step pop_reg64(Cpu& c, const Insn& i) {
  const u64 la = c.r(Gpr::rsp);
  u64 v;
  if (!c.read<u64>(la, v, Seg::ss)) return c.failed();
  c.r(Gpr::rsp) = la + 8;
  c.set_reg<u64>(i.dst, v);
  return Step::next;
}
/// The address is computed after RSP was incremented (SDM vol. 2, POP).
template <class T>
Step pop_mem(Cpu& c, const Insn& i) {
  u64 v;
  if (!c.peek(v, sizeof(T))) return c.failed();
  const u64 before = c.r(Gpr::rsp);
  c.adjust_sp(sizeof(T));
  if (c.store<T>(i, static_cast<T>(v))) return Step::next;
  c.r(Gpr::rsp) = before;
  return c.failed();
}

template <class T>
Step pusha(Cpu& c, const Insn&) {
  const u64 sp = c.r(Gpr::rsp);
  for (unsigned n = 0; n < 8; ++n) {
    const u64 v = n == 4 ? sp : c.gpr[n];
    if (c.push(v, sizeof(T))) continue;
    c.r(Gpr::rsp) = sp;
    return c.failed();
  }
  return Step::next;
}
template <class T>
Step popa(Cpu& c, const Insn&) {
  u64 v[8];
  for (unsigned n = 0; n < 8; ++n)
    if (!c.peek(v[n], sizeof(T), n * sizeof(T))) return c.failed();
  for (unsigned n = 0; n < 8; ++n)
    if (n != 3) c.set_reg<T>(slot::of(7 - n), static_cast<T>(v[n]));
  c.adjust_sp(8 * sizeof(T));
  return Step::next;
}

template <class T>
Step leave(Cpu& c, const Insn&) {
  const u64 sp = c.r(Gpr::rsp);
  u64& rsp = c.r(Gpr::rsp);
  const u64 bp = c.r(Gpr::rbp);
  rsp = c.stack_size() == 8 ? bp
        : c.stack_size() == 4 ? static_cast<u32>(bp)
                              : (sp & ~u64{0xffff}) | static_cast<u16>(bp);
  u64 v;
  if (!c.peek(v, sizeof(T))) {
    rsp = sp;
    return c.failed();
  }
  c.adjust_sp(sizeof(T));
  c.set_reg<T>(slot::of(5), static_cast<T>(v));
  return Step::next;
}

/// ENTER size, level (SDM vol. 2): imm = size, misc = level.
template <class T>
Step enter(Cpu& c, const Insn& i) {
  const u64 sp = c.r(Gpr::rsp);
  auto undo = [&] {
    c.r(Gpr::rsp) = sp;
    return c.failed();
  };
  if (!c.push(c.r(Gpr::rbp), sizeof(T))) return undo();
  const u64 frame = c.r(Gpr::rsp);
  u64 bp = c.r(Gpr::rbp);
  const u64 mask = c.stack_size() == 8 ? ~u64{0} : c.stack_size() == 4 ? 0xffff'ffff : 0xffff;
  for (unsigned n = 1; n < i.misc; ++n) {
    bp -= sizeof(T);
    u64 la;
    T v;
    if (!c.linear(Seg::ss, bp & mask, sizeof(T), false, la) || !c.read<T>(la, v, Seg::ss) ||
        !c.push(v, sizeof(T)))
      return undo();
  }
  if (i.misc && !c.push(frame, sizeof(T))) return undo();
  const u64 after = c.r(Gpr::rsp);
  c.adjust_sp(-static_cast<i64>(i.imm));
  u64 la;  // the new top must be writable
  if (!c.linear(Seg::ss, c.r(Gpr::rsp) & mask, sizeof(T), true, la) ||
      !c.probe_write(la, sizeof(T), Seg::ss)) {
    c.r(Gpr::rsp) = after;
    return undo();
  }
  c.set_reg<T>(slot::of(5), static_cast<T>(frame));
  return Step::next;
}

bool bind_push(const Decoded& d, Insn& out) {
  const auto& a = d.operands[0];
  if (is_imm(a)) {
    out.imm = a.imm.value.u;
    out.size = size_log2(d.info.operand_width) & 3;
    out.fn = push_imm;
    return true;
  }
  out.size = size_log2(a.size) & 3;
  if (is_mem(a)) {
    out.fn = a.size == 64 ? push_mem<u64> : a.size == 32 ? push_mem<u32> : push_mem<u16>;
    return true;
  }
  if (!is_gpr(a)) return false;
  out.src = slot_of(a.reg.value);
  out.fn = a.size == 64 ? push_reg64 : push_reg;
  return true;
}

bool bind_pop(const Decoded& d, Insn& out) {
  const auto& a = d.operands[0];
  if (is_mem(a)) {
    out.fn = a.size == 64 ? pop_mem<u64> : a.size == 32 ? pop_mem<u32> : pop_mem<u16>;
    return true;
  }
  if (!is_gpr(a)) return false;
  out.dst = slot_of(a.reg.value);
  out.fn = a.size == 64 ? pop_reg64 : a.size == 32 ? pop_reg<u32> : pop_reg<u16>;
  return true;
}

}  // namespace

bool bind_stack(const Decoded& d, Insn& out) {
  const unsigned width = d.info.operand_width;
  switch (d.info.mnemonic) {
    case ZYDIS_MNEMONIC_PUSH: return bind_push(d, out);
    case ZYDIS_MNEMONIC_POP: return bind_pop(d, out);
    case ZYDIS_MNEMONIC_PUSHA: out.fn = pusha<u16>; return true;
    case ZYDIS_MNEMONIC_PUSHAD: out.fn = pusha<u32>; return true;
    case ZYDIS_MNEMONIC_POPA: out.fn = popa<u16>; return true;
    case ZYDIS_MNEMONIC_POPAD: out.fn = popa<u32>; return true;
    case ZYDIS_MNEMONIC_LEAVE:
      out.fn = width == 64 ? leave<u64> : width == 32 ? leave<u32> : leave<u16>;
      return true;
    case ZYDIS_MNEMONIC_ENTER:
      out.imm = d.operands[0].imm.value.u & 0xffff;
      out.misc = d.operands[1].imm.value.u & 31;
      out.fn = width == 64 ? enter<u64> : width == 32 ? enter<u32> : enter<u16>;
      return true;
    default: return false;
  }
}

}  // namespace bhyve::soft
