// Segment registers: loading them (SDM vol. 3, 3.4), moving them, their bases.
#include "engine/soft/system/descriptor.hpp"
#include "engine/soft/system/system.hpp"

namespace bhyve::soft {

using x86::Seg;
using x86::Segment;
using x86::Vector;

namespace {

bool load_ss(Cpu& cpu, u16 selector) {
  const unsigned cpl = cpu.cpl();
  if (is_null(selector)) {
    // 64-bit mode allows a null SS below privilege level 3 (SDM vol. 3, 5.4.1).
    if (!cpu.code64() || cpl == 3 || rpl_of(selector) != cpl) {
      cpu.gp0();
      return false;
    }
    commit_segment(cpu, Seg::ss, null_segment(selector, cpl));
    return true;
  }
  Descriptor d;
  if (!check_stack_segment(cpu, selector, cpl, Vector::gp, 0, d) || !mark_accessed(cpu, d))
    return false;
  commit_segment(cpu, Seg::ss, d.cache(selector));
  return true;
}

bool load_data(Cpu& cpu, Seg seg, u16 selector) {
  if (is_null(selector)) {
    commit_segment(cpu, seg, null_segment(selector));
    return true;
  }
  Descriptor d;
  if (!read_descriptor(cpu, selector, d, Vector::gp)) return false;
  const unsigned dpl = d.dpl();
  const bool level_ok = d.conforming() || (rpl_of(selector) <= dpl && cpu.cpl() <= dpl);
  if (!d.readable() || !level_ok) {
    cpu.raise(Vector::gp, selector_error(selector));
    return false;
  }
  if (!d.present()) {
    cpu.raise(Vector::np, selector_error(selector));
    return false;
  }
  if (!mark_accessed(cpu, d)) return false;
  commit_segment(cpu, seg, d.cache(selector));
  return true;
}

/// After a load: SS changes the stack's width and holds interrupts off for one instruction.
Step loaded(Cpu& cpu, const Insn& i, Seg seg) {
  if (seg != Seg::ss) return Step::next;
  cpu.update_mode();
  cpu.set_stack_shadow();
  return cpu.finish(i);
}

Seg seg_of(const Insn& i) { return static_cast<Seg>(+i.misc); }
u16 selector_of(const Cpu& cpu, Seg seg) { return cpu.s.seg[static_cast<u8>(seg)].selector; }

}  // namespace

bool Cpu::load_segment(Seg seg, u16 selector) {
  if (!protected_mode()) {
    commit_segment(*this, seg, real_segment(*this, seg, selector));
    return true;
  }
  if (v86_mode()) {
    commit_segment(*this, seg, v86_segment(selector));
    return true;
  }
  return seg == Seg::ss ? load_ss(*this, selector) : load_data(*this, seg, selector);
}

Step h_mov_to_sreg(Cpu& cpu, const Insn& i) {
  if (!cpu.load_segment(seg_of(i), cpu.reg<u16>(i.src))) return cpu.failed();
  return loaded(cpu, i, seg_of(i));
}

Step h_load_sreg(Cpu& cpu, const Insn& i) {
  u16 selector = 0;
  if (!cpu.load(i, selector) || !cpu.load_segment(seg_of(i), selector)) return cpu.failed();
  return loaded(cpu, i, seg_of(i));
}

Step h_mov_from_sreg(Cpu& cpu, const Insn& i) {
  set_reg_sized(cpu, i.dst, bytes_of(i), selector_of(cpu, seg_of(i)));
  return Step::next;
}

Step h_store_sreg(Cpu& cpu, const Insn& i) {
  return cpu.store<u16>(i, selector_of(cpu, seg_of(i))) ? Step::next : cpu.failed();
}

Step h_push_sreg(Cpu& cpu, const Insn& i) {
  return cpu.push(selector_of(cpu, seg_of(i)), bytes_of(i)) ? Step::next : cpu.failed();
}

Step h_pop_sreg(Cpu& cpu, const Insn& i) {
  u64 value = 0;
  if (!cpu.peek(value, bytes_of(i))) return cpu.failed();
  // POP SS: RSP moves in the width of the old stack segment.
  FarStack stack(cpu);
  stack.skip(bytes_of(i));
  if (!cpu.load_segment(seg_of(i), static_cast<u16>(value))) return cpu.failed();
  stack.commit();
  return loaded(cpu, i, seg_of(i));
}

Step h_load_far_pointer(Cpu& cpu, const Insn& i) {
  const unsigned size = bytes_of(i);
  const Seg from = static_cast<Seg>(+i.seg);
  u64 la = 0, offset = 0;
  u16 selector = 0;
  if (!cpu.linear(i, size + 2, false, la) || !read_sized(cpu, la, size, offset, from) ||
      !cpu.read(la + size, selector, from) || !cpu.load_segment(seg_of(i), selector))
    return cpu.failed();
  set_reg_sized(cpu, i.dst, size, offset);
  return seg_of(i) == Seg::ss ? (cpu.update_mode(), cpu.finish(i)) : Step::next;
}

Step h_rdfsbase(Cpu& cpu, const Insn& i) {
  if (!cpu.code64() || !(cpu.s.cr4 & x86::cr4::fsgsbase)) return cpu.ud();
  set_reg_sized(cpu, i.dst, bytes_of(i), cpu.seg_base[i.misc]);
  return Step::next;
}

Step h_wrfsbase(Cpu& cpu, const Insn& i) {
  if (!cpu.code64() || !(cpu.s.cr4 & x86::cr4::fsgsbase)) return cpu.ud();
  const u64 base = low_bytes(cpu.reg<u64>(i.dst), bytes_of(i));
  if (!x86::is_canonical(base)) return cpu.gp0();
  cpu.s.seg[i.misc].base = cpu.seg_base[i.misc] = base;
  return Step::next;
}

Step h_swapgs(Cpu& cpu, const Insn&) {
  if (!cpu.code64()) return cpu.ud();
  if (cpu.cpl() != 0) return cpu.gp0();
  const auto gs = static_cast<u8>(Seg::gs);
  const u64 base = cpu.s.seg[gs].base;
  cpu.s.seg[gs].base = cpu.seg_base[gs] = cpu.s.fs_kernel_gs_base;
  cpu.s.fs_kernel_gs_base = base;
  return Step::next;
}

}  // namespace bhyve::soft
