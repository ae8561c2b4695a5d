// Near jumps, calls and returns, LOOP and JrCXZ. Far ones are in system/.
#include "engine/soft/interp/alu_ops.hpp"
#include "engine/soft/interp/tables.hpp"

namespace bhyve::soft {

namespace {

using x86::Gpr;
using x86::Seg;

/// imm is the displacement from the next instruction; address_size holds nothing here, `size` the
/// operand size that IP is cut to.
u64 target_of(const Cpu& c, const Insn& i) {
  u64 t = c.rip_of(i) + i.length + i.imm;
  if (i.size == 2) t = static_cast<u32>(t);
  if (i.size == 1) t = static_cast<u16>(t);
  return t;
}

/// A near transfer beyond the CS limit or to a non-canonical address is #GP on the branch itself.
bool reachable(const Cpu& c, u64 target) {
  if (c.code64()) return x86::is_canonical(target);
  return target <= c.s.seg[static_cast<u8>(Seg::cs)].limit;
}

Step go(Cpu& c, u64 target) {
  if (!reachable(c, target)) [[unlikely]] return c.gp0();
  c.rip = target;
  return Step::branch;
}

template <unsigned Cc>
Step jcc(Cpu& c, const Insn& i) {
  if (!alu::condition<Cc>(c.flags)) return Step::next;
  return go(c, target_of(c, i));
}
constexpr Handler jcc_table[16] = {jcc<0>,  jcc<1>,  jcc<2>,  jcc<3>, jcc<4>,  jcc<5>,
                                   jcc<6>,  jcc<7>,  jcc<8>,  jcc<9>, jcc<10>, jcc<11>,
                                   jcc<12>, jcc<13>, jcc<14>, jcc<15>};

Step jmp_rel(Cpu& c, const Insn& i) { return go(c, target_of(c, i)); }

u64 cut(const Insn& i, u64 v) {
  return i.size == 3 ? v : i.size == 2 ? static_cast<u32>(v) : static_cast<u16>(v);
}
bool indirect_target(Cpu& c, const Insn& i, u64& t) {
  if (i.ea == Ea::none) {
    t = cut(i, c.reg<u64>(i.src));
    return true;
  }
  switch (i.size) {
    case 3: return c.load<u64>(i, t);
    case 2: {
      u32 v = 0;
      const bool ok = c.load<u32>(i, v);
      t = v;
      return ok;
    }
    default: {
      u16 v = 0;
      const bool ok = c.load<u16>(i, v);
      t = v;
      return ok;
    }
  }
}
Step jmp_indirect(Cpu& c, const Insn& i) {
  u64 t;
  if (!indirect_target(c, i, t)) return c.failed();
  return go(c, t);
}

Step call_to(Cpu& c, const Insn& i, u64 target) {
  if (!reachable(c, target)) [[unlikely]] return c.gp0();
  if (!c.push(c.next_rip(i), 1u << i.size)) return c.failed();
  c.rip = target;
  return Step::branch;
}
Step call_rel(Cpu& c, const Insn& i) { return call_to(c, i, target_of(c, i)); }
Step call_rel64(Cpu& c, const Insn& i) {
  const u64 next = c.rip_of(i) + i.length;
  const u64 target = next + i.imm;
  if (!x86::is_canonical(target)) [[unlikely]] return c.gp0();
  const u64 sp = c.r(Gpr::rsp) - 8;
  if (!c.write<u64>(sp, next, Seg::ss)) return c.failed();
  c.r(Gpr::rsp) = sp;
  c.rip = target;
  return Step::branch;
}
Step call_indirect(Cpu& c, const Insn& i) {
  u64 t;
  if (!indirect_target(c, i, t)) return c.failed();
  return call_to(c, i, t);
}

Step ret64(Cpu& c, const Insn& i) {
  const u64 sp = c.r(Gpr::rsp);
  u64 t;
  if (!c.read<u64>(sp, t, Seg::ss)) return c.failed();
  if (!x86::is_canonical(t)) [[unlikely]] return c.gp0();
  c.r(Gpr::rsp) = sp + 8 + i.imm;
  c.rip = t;
  return Step::branch;
}
Step ret(Cpu& c, const Insn& i) {
  u64 t;
  if (!c.peek(t, 1u << i.size)) return c.failed();
  if (!reachable(c, t)) return c.gp0();
  c.adjust_sp(static_cast<i64>((1u << i.size) + i.imm));
  c.rip = t;
  return Step::branch;
}

// LOOPcc and JrCXZ count in the address size. misc: 0 LOOPNE, 1 LOOPE, 2 LOOP, 3 JrCXZ.
Step loop(Cpu& c, const Insn& i) {
  const u64 mask = i.address_size == 3   ? ~u64{0}
                   : i.address_size == 2 ? u64{0xffff'ffff}
                                         : u64{0xffff};
  u64& rcx = c.r(Gpr::rcx);
  const bool zf = c.flags & 0x4000;
  u64 count = rcx & mask;
  bool taken;
  if (i.misc == 3) {
    taken = count == 0;
  } else {
    count = (count - 1) & mask;
    taken = count != 0 && (i.misc == 2 || zf == (i.misc == 1));
  }
  const u64 target = target_of(c, i);
  if (taken && !reachable(c, target)) return c.gp0();
  if (i.misc != 3) rcx = i.address_size == 1 ? (rcx & ~mask) | count : count;
  if (!taken) return Step::next;
  c.rip = target;
  return Step::branch;
}

int loop_kind(ZydisMnemonic m) {
  switch (m) {
    case ZYDIS_MNEMONIC_LOOPNE: return 0;
    case ZYDIS_MNEMONIC_LOOPE: return 1;
    case ZYDIS_MNEMONIC_LOOP: return 2;
    case ZYDIS_MNEMONIC_JCXZ:
    case ZYDIS_MNEMONIC_JECXZ:
    case ZYDIS_MNEMONIC_JRCXZ: return 3;
    default: return -1;
  }
}

/// Near branches in 64-bit mode always have 64-bit operands on Intel's processors, 66h or not.
u8 branch_size(const Decoded& d) {
  if (d.code_size == CodeSize::bits64) return 3;
  return size_log2(d.info.operand_width) & 3;
}

}  // namespace

bool bind_branch(const Decoded& d, Insn& out) {
  if (d.info.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) return false;
  out.size = branch_size(d) & 3;
  const auto& a = d.operands[0];
  if (const int kind = loop_kind(d.info.mnemonic); kind >= 0) {
    out.misc = static_cast<u8>(kind);
    out.imm = static_cast<u64>(a.imm.value.s);
    out.address_size = d.info.address_width == 64 ? 3 : d.info.address_width == 32 ? 2 : 1;
    out.fn = loop;
    return true;
  }
  if (d.info.meta.category == ZYDIS_CATEGORY_COND_BR) {
    if (!is_imm(a) || d.info.mnemonic == ZYDIS_MNEMONIC_XBEGIN) return false;
    out.imm = static_cast<u64>(a.imm.value.s);
    out.fn = jcc_table[d.info.opcode & 15];
    return true;
  }
  const bool call = d.info.mnemonic == ZYDIS_MNEMONIC_CALL;
  if (call || d.info.mnemonic == ZYDIS_MNEMONIC_JMP) {
    if (is_imm(a)) {
      out.imm = static_cast<u64>(a.imm.value.s);
      out.fn = !call ? jmp_rel : out.size == 3 ? call_rel64 : call_rel;
      return true;
    }
    if (!is_mem(a)) out.src = slot_of(a.reg.value);
    out.fn = call ? call_indirect : jmp_indirect;
    return true;
  }
  if (d.info.mnemonic == ZYDIS_MNEMONIC_RET) {
    out.imm = is_imm(a) ? a.imm.value.u & 0xffff : 0;
    out.fn = out.size == 3 ? ret64 : ret;
    return true;
  }
  return false;
}

}  // namespace bhyve::soft
