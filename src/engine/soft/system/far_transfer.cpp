// Far JMP, CALL and RET (SDM vol. 2; vol. 3, 5.8).
#include "engine/soft/system/far_transfer.hpp"

#include "engine/soft/system/system.hpp"
#include "engine/soft/system/task_switch.hpp"

namespace bhyve::soft {

using x86::Seg;
using x86::Segment;
using x86::Vector;

bool check_target(Cpu& cpu, const Descriptor& cs, u64 rip) {
  const bool code64 = cpu.long_mode() && cs.l();
  if (code64 ? x86::is_canonical(rip) : rip <= cs.limit()) return true;
  cpu.gp0();
  return false;
}

bool check_return_code(Cpu& cpu, u16 selector, Descriptor& out) {
  if (is_null(selector)) {
    cpu.gp0();
    return false;
  }
  if (!read_descriptor(cpu, selector, out, Vector::gp)) return false;
  const unsigned rpl = rpl_of(selector);
  const bool dpl_ok = out.conforming() ? out.dpl() <= rpl : out.dpl() == rpl;
  const bool both = cpu.long_mode() && out.l() && out.db();
  if (!out.code() || rpl < cpu.cpl() || !dpl_ok || both) {
    cpu.raise(Vector::gp, selector_error(selector));
    return false;
  }
  if (!out.present()) {
    cpu.raise(Vector::np, selector_error(selector));
    return false;
  }
  return true;
}

bool check_return_stack(Cpu& cpu, u16 selector, const Descriptor& cs, unsigned cpl,
                        ReturnStack& out) {
  out.selector = selector;
  out.null = is_null(selector) && cpu.long_mode() && cs.l() && cpl != 3 && rpl_of(selector) == cpl;
  return out.null || check_stack_segment(cpu, selector, cpl, Vector::gp, 0, out.d);
}

bool finish_return_checks(Cpu& cpu, Descriptor& cs, u64 rip, ReturnStack* stack) {
  return check_target(cpu, cs, rip) && mark_accessed(cpu, cs) &&
         (!stack || stack->null || mark_accessed(cpu, stack->d));
}

Segment ReturnStack::segment(unsigned cpl) const {
  return null ? null_segment(selector, cpl) : d.cache(selector);
}

void commit_outer(Cpu& cpu, const Segment& cs, unsigned cpl, u64 rip, const Segment& ss, u64 rsp) {
  cpu.s.seg[static_cast<u8>(Seg::ss)] = ss;
  commit_code(cpu, cs, cpl, rip);
  u64& to = cpu.r(x86::Gpr::rsp);
  switch (cpu.stack_size()) {
    case 8: to = rsp; break;
    case 4: to = static_cast<u32>(rsp); break;
    default: to = (to & ~u64{0xffff}) | (rsp & 0xffff); break;
  }
}

namespace {

u16 cs_selector(const Cpu& cpu) { return cpu.s.seg[static_cast<u8>(Seg::cs)].selector; }

/// Pushes the return address of a far CALL. The caller commits the stack.
bool push_return(Cpu& cpu, const Insn& i, FarStack& stack, unsigned size) {
  return stack.push(cs_selector(cpu), size) && stack.push(cpu.next_rip(i), size);
}

Step transfer_real(Cpu& cpu, const Insn& i, u16 selector, u64 offset, bool call) {
  if (offset > cpu.s.seg[static_cast<u8>(Seg::cs)].limit) return cpu.gp0();
  FarStack stack(cpu);
  if (call && !push_return(cpu, i, stack, bytes_of(i))) return cpu.failed();
  if (call) stack.commit();
  const Segment cs =
      cpu.v86_mode() ? v86_segment(selector) : real_segment(cpu, Seg::cs, selector);
  commit_code(cpu, cs, cpu.cpl(), offset);
  return Step::stop;
}

Step transfer_segment(Cpu& cpu, const Insn& i, Descriptor& cs, u64 offset, bool call) {
  const u32 error = selector_error(cs.selector);
  const bool privilege = cs.conforming() ? cs.dpl() <= cpu.cpl()
                                         : rpl_of(cs.selector) <= cpu.cpl() && cs.dpl() == cpu.cpl();
  if (!cs.code() || !privilege || (cpu.long_mode() && cs.l() && cs.db()))
    return cpu.raise(Vector::gp, error);
  if (!cs.present()) return cpu.raise(Vector::np, error);
  if (!check_target(cpu, cs, offset)) return cpu.failed();
  FarStack stack(cpu);
  if (call && !push_return(cpu, i, stack, bytes_of(i))) return cpu.failed();
  if (!mark_accessed(cpu, cs)) return cpu.failed();
  if (call) stack.commit();
  const u16 selector = static_cast<u16>((cs.selector & 0xfffc) | cpu.cpl());
  commit_code(cpu, cs.cache(selector), cpu.cpl(), offset);
  return Step::stop;
}

/// CALL through a 64-bit gate to an inner level (SDM vol. 3, 5.8.5.1).
Step call_inner64(Cpu& cpu, const Insn& i, Descriptor& cs, u64 offset) {
  const unsigned cpl = cs.dpl();
  u64 rsp = 0;
  if (!read_tss64(cpu, 4 + 8 * cpl, rsp, 0)) return cpu.failed();
  const Segment old_ss = cpu.s.seg[static_cast<u8>(Seg::ss)];
  FarStack stack(cpu, old_ss, rsp, 8, cpl, 0);
  if (!stack.push(old_ss.selector, 8) || !stack.push(cpu.r(x86::Gpr::rsp), 8) ||
      !push_return(cpu, i, stack, 8) || !mark_accessed(cpu, cs))
    return cpu.failed();
  cpu.s.seg[static_cast<u8>(Seg::ss)] = null_segment(static_cast<u16>(cpl), cpl);
  commit_code(cpu, cs.cache(static_cast<u16>((cs.selector & 0xfffc) | cpl)), cpl, offset);
  cpu.r(x86::Gpr::rsp) = stack.sp();
  return Step::stop;
}

/// CALL through a 16- or 32-bit gate to an inner level: parameters are copied (5.8.5).
Step call_inner32(Cpu& cpu, const Insn& i, const Descriptor& gate, Descriptor& cs, u64 offset) {
  const unsigned cpl = cs.dpl(), size = gate.type() & 8 ? 4 : 2;
  const unsigned parameters = gate.raw >> 32 & 31;
  u16 selector = 0;
  u64 sp = 0;
  Descriptor ss;
  if (!read_tss_stack(cpu, cpl, selector, sp, 0) ||
      !check_stack_segment(cpu, selector, cpl, Vector::ts, 0, ss))
    return cpu.failed();
  FarStack outer(cpu);
  std::array<u64, 31> copied{};
  for (unsigned n = 0; n < parameters; ++n)
    if (!outer.pop(copied[n], size)) return cpu.failed();
  FarStack stack(cpu, ss.cache(selector), sp, ss.db() ? 4 : 2, cpl, selector_error(selector));
  if (!stack.push(cpu.s.seg[static_cast<u8>(Seg::ss)].selector, size) ||
      !stack.push(cpu.r(x86::Gpr::rsp), size))
    return cpu.failed();
  for (unsigned n = parameters; n-- > 0;)
    if (!stack.push(copied[n], size)) return cpu.failed();
  if (!push_return(cpu, i, stack, size) || !mark_accessed(cpu, ss) || !mark_accessed(cpu, cs))
    return cpu.failed();
  cpu.s.seg[static_cast<u8>(Seg::ss)] = ss.cache(selector);
  commit_code(cpu, cs.cache(static_cast<u16>((cs.selector & 0xfffc) | cpl)), cpl, offset);
  stack.commit();
  return Step::stop;
}

/// JMP or CALL to a TSS or through a task gate (SDM vol. 3, 7.3).
Step transfer_task(Cpu& cpu, const Insn& i, const Descriptor& d, bool call) {
  const u32 error = selector_error(d.selector);
  if (d.dpl() < cpu.cpl() || d.dpl() < rpl_of(d.selector)) return cpu.raise(Vector::gp, error);
  TaskRequest q;
  q.selector = d.selector;
  if (d.type() == systype::task_gate) {
    if (!d.present()) return cpu.raise(Vector::np, error);
    if (!task_gate_target(cpu, d, 0, q.selector)) return cpu.failed();
  }
  q.reason = call ? TaskReason::call : TaskReason::jump;
  q.return_rip = cpu.next_rip(i);
  q.flags_image = cpu.rflags();
  return task_instruction(cpu, q);
}

bool names_task(const Descriptor& d) {
  switch (d.type()) {
    case systype::task_gate: case systype::tss16: case systype::tss16_busy: case systype::tss32:
    case systype::tss32_busy: return true;
    default: return false;
  }
}

Step transfer_gate(Cpu& cpu, const Insn& i, const Descriptor& gate, bool call) {
  const bool wide = cpu.long_mode();
  const u32 error = selector_error(gate.selector);
  if (!wide && names_task(gate)) return transfer_task(cpu, i, gate, call);
  const bool type_ok = gate.type() == systype::call32 || (!wide && gate.type() == systype::call16);
  if (!type_ok || gate.dpl() < cpu.cpl() || gate.dpl() < rpl_of(gate.selector) ||
      (wide && gate.high >> 40 & 0x1f))
    return cpu.raise(Vector::gp, error);
  if (!gate.present()) return cpu.raise(Vector::np, error);

  const u16 selector = gate.gate_selector();
  const u32 cs_error = selector_error(selector);
  Descriptor cs;
  if (is_null(selector)) return cpu.gp0();
  if (!read_descriptor(cpu, selector, cs, Vector::gp)) return cpu.failed();
  const bool level_ok =
      call || cs.conforming() ? cs.dpl() <= cpu.cpl() : cs.dpl() == cpu.cpl();
  if (!cs.code() || !level_ok || (wide && (!cs.l() || cs.db())))
    return cpu.raise(Vector::gp, cs_error);
  if (!cs.present()) return cpu.raise(Vector::np, cs_error);

  const u64 offset = wide ? gate.gate_offset64()
                     : gate.type() & 8 ? gate.gate_offset32() : static_cast<u16>(gate.raw);
  if (!check_target(cpu, cs, offset)) return cpu.failed();
  if (call && !cs.conforming() && cs.dpl() < cpu.cpl())
    return wide ? call_inner64(cpu, i, cs, offset) : call_inner32(cpu, i, gate, cs, offset);

  FarStack stack(cpu);
  const unsigned size = wide ? 8 : gate.type() & 8 ? 4 : 2;
  if (call && !push_return(cpu, i, stack, size)) return cpu.failed();
  if (!mark_accessed(cpu, cs)) return cpu.failed();
  if (call) stack.commit();
  commit_code(cpu, cs.cache(static_cast<u16>((selector & 0xfffc) | cpu.cpl())), cpu.cpl(), offset);
  return Step::stop;
}

Step transfer(Cpu& cpu, const Insn& i, u16 selector, u64 offset, bool call) {
  if (!uses_descriptors(cpu)) return transfer_real(cpu, i, selector, offset, call);
  if (is_null(selector)) return cpu.gp0();
  Descriptor d;
  if (!read_descriptor(cpu, selector, d, Vector::gp, 0, cpu.long_mode())) return cpu.failed();
  if (d.segment()) return transfer_segment(cpu, i, d, offset, call);
  return transfer_gate(cpu, i, d, call);
}

Step transfer_memory(Cpu& cpu, const Insn& i, bool call) {
  const unsigned size = bytes_of(i);
  u64 la = 0, offset = 0;
  u16 selector = 0;
  const Seg seg = static_cast<Seg>(+i.seg);
  if (!cpu.linear(i, size + 2, false, la) || !read_sized(cpu, la, size, offset, seg) ||
      !cpu.read(la + size, selector, seg))
    return cpu.failed();
  return transfer(cpu, i, selector, offset, call);
}

}  // namespace

Step h_far_jmp_direct(Cpu& cpu, const Insn& i) {
  return transfer(cpu, i, static_cast<u16>(i.disp), i.imm, false);
}
Step h_far_call_direct(Cpu& cpu, const Insn& i) {
  return transfer(cpu, i, static_cast<u16>(i.disp), i.imm, true);
}
Step h_far_jmp_memory(Cpu& cpu, const Insn& i) { return transfer_memory(cpu, i, false); }
Step h_far_call_memory(Cpu& cpu, const Insn& i) { return transfer_memory(cpu, i, true); }

Step h_far_ret(Cpu& cpu, const Insn& i) {
  const unsigned size = bytes_of(i);
  FarStack stack(cpu);
  u64 rip = 0, cs_word = 0;
  if (!stack.pop(rip, size) || !stack.pop(cs_word, size)) return cpu.failed();
  const u16 selector = static_cast<u16>(cs_word);
  stack.skip(i.imm);
  if (!uses_descriptors(cpu)) {
    if (rip > cpu.s.seg[static_cast<u8>(Seg::cs)].limit) return cpu.gp0();
    stack.commit();
    const Segment cs =
        cpu.v86_mode() ? v86_segment(selector) : real_segment(cpu, Seg::cs, selector);
    commit_code(cpu, cs, cpu.cpl(), rip);
    return Step::stop;
  }
  Descriptor cs;
  if (!check_return_code(cpu, selector, cs)) return cpu.failed();
  const unsigned cpl = rpl_of(selector);
  if (cpl == cpu.cpl()) {
    if (!finish_return_checks(cpu, cs, rip, nullptr)) return cpu.failed();
    stack.commit();
    commit_code(cpu, cs.cache(selector), cpl, rip);
    return Step::stop;
  }
  u64 rsp = 0, ss_word = 0;
  ReturnStack outer;
  if (!stack.pop(rsp, size) || !stack.pop(ss_word, size) ||
      !check_return_stack(cpu, static_cast<u16>(ss_word), cs, cpl, outer) ||
      !finish_return_checks(cpu, cs, rip, &outer))
    return cpu.failed();
  commit_outer(cpu, cs.cache(selector), cpl, rip, outer.segment(cpl), rsp + i.imm);
  drop_inner_segments(cpu, cpl);
  return Step::stop;
}

}  // namespace bhyve::soft
