#include "engine/soft/system/task_switch.hpp"

#include "engine/soft/system/system.hpp"
#include "engine/soft/system/task_state.hpp"

namespace bhyve::soft {

using x86::Seg;
using x86::Segment;
using x86::Vector;
namespace rfl = x86::rflags;

namespace {

Segment& segment(Cpu& cpu, Seg seg) { return cpu.s.seg[static_cast<u8>(seg)]; }

bool refuse(Cpu& cpu, Vector v, u16 selector, u32 ext) {
  cpu.raise(v, selector_error(selector) | ext);
  return false;
}

/// Reads and checks the descriptor of the new TSS (table 7-1).
bool find_tss(Cpu& cpu, const TaskRequest& q, Descriptor& d) {
  const Vector v = q.reason == TaskReason::iret ? Vector::ts : Vector::gp;
  if (q.selector & 4 || is_null(q.selector)) return refuse(cpu, v, q.selector, q.ext);
  if (!read_descriptor(cpu, q.selector, d, v, q.ext)) return false;
  const bool busy = q.reason == TaskReason::iret;
  const bool type_ok = d.type() == (busy ? systype::tss32_busy : systype::tss32) ||
                       d.type() == (busy ? systype::tss16_busy : systype::tss16);
  if (d.segment() || !type_ok) return refuse(cpu, v, q.selector, q.ext);
  if (!d.present()) return refuse(cpu, Vector::np, q.selector, q.ext);
  if (d.limit() < (d.type() & 8 ? tss32_last : tss16_last))
    return refuse(cpu, Vector::ts, q.selector, q.ext);
  return true;
}

TaskState present_task(Cpu& cpu, const TaskRequest& q) {
  TaskState t;
  t.eip = static_cast<u32>(q.return_rip);
  t.eflags = static_cast<u32>(q.flags_image);
  if (q.reason == TaskReason::iret) t.eflags &= ~static_cast<u32>(rfl::nt);
  for (unsigned n = 0; n < t.gpr.size(); ++n) t.gpr[n] = static_cast<u32>(cpu.gpr[n]);
  for (unsigned n = 0; n < t.selector.size(); ++n) t.selector[n] = cpu.s.seg[n].selector;
  return t;
}

/// Writes the type byte of a descriptor with the busy bit as wanted.
bool write_busy(Cpu& cpu, u64 la, u8 type_byte, bool busy) {
  const u8 v = static_cast<u8>(busy ? type_byte | 2 : type_byte & ~2);
  return cpu.write_system(la + 5, v);
}

/// All that is written to memory: first what may be written again, then the busy bits, whose places
/// were found writable by then. False: failed(), in the old task.
bool save_old(Cpu& cpu, const TaskRequest& q, const Descriptor& next) {
  const Segment& tr = segment(cpu, Seg::tr);
  const bool wide = tr.access & 8;
  const bool nested = q.reason == TaskReason::call || q.reason == TaskReason::event;
  const u64 old_la = cpu.s.gdtr.base + (tr.selector & 0xfff8);
  u8 old_type = 0;
  const u8 new_type = static_cast<u8>(next.raw >> 40);
  if (!write_task(cpu, tr.base, wide, present_task(cpu, q)) ||
      (nested && !cpu.write_system(next.base(), tr.selector)) ||
      !cpu.write_system(next.la + 5, new_type) || !cpu.read_system(old_la + 5, old_type))
    return false;
  if (!nested && !write_busy(cpu, old_la, old_type, false)) return false;
  return q.reason == TaskReason::iret || write_busy(cpu, next.la, new_type, true);
}

/// The new task's registers. Segments get their selectors only, and are unusable until checked.
void commit(Cpu& cpu, const TaskRequest& q, const Descriptor& next, const TaskState& t) {
  const bool wide = next.type() & 8;
  const bool nested = q.reason == TaskReason::call || q.reason == TaskReason::event;
  Descriptor busy = next;
  busy.raw |= bit(41);
  segment(cpu, Seg::tr) = busy.cache(q.selector);
  cpu.s.cr0 |= x86::cr0::ts;
  cpu.s.dr7 &= ~x86::dr::dr7_local;
  for (unsigned n = 0; n < t.gpr.size(); ++n)
    cpu.gpr[n] = wide ? t.gpr[n] : (cpu.gpr[n] & 0xffff'0000) | t.gpr[n];
  constexpr u64 defined = rfl::arithmetic | rfl::tf | rfl::if_ | rfl::df | rfl::iopl | rfl::nt |
                          rfl::rf | rfl::vm | rfl::ac | rfl::vif | rfl::vip | rfl::id;
  u64 flags = (t.eflags & defined) | (nested ? rfl::nt : 0) | rfl::fixed1;
  if (!(cpu.s.dr7 & x86::dr::dr7_enables)) flags &= ~rfl::rf;
  const bool v86 = flags & rfl::vm;
  for (unsigned n = 0; n < t.selector.size(); ++n)
    cpu.s.seg[n] = v86 ? v86_segment(t.selector[n]) : null_segment(t.selector[n]);
  segment(cpu, Seg::ldtr) = null_segment(t.ldt);
  cpu.rip = t.eip;
  cpu.load_rflags(flags);
  cpu.set_cpl(v86 ? 3 : rpl_of(t.selector[static_cast<u8>(Seg::cs)]));
}

bool load_address_space(Cpu& cpu, const TaskState& t) {
  if (!(cpu.s.cr0 & x86::cr0::pg)) return true;
  cpu.s.cr3 = t.cr3;
  cpu.new_address_space(false);
  return !(cpu.s.cr4 & x86::cr4::pae) || cpu.load_pdptes(t.cr3);
}

bool load_ldt(Cpu& cpu, u16 selector, u32 ext) {
  if (is_null(selector)) return true;
  Descriptor d;
  if (selector & 4) return refuse(cpu, Vector::ts, selector, ext);
  if (!read_descriptor(cpu, selector, d, Vector::ts, ext)) return false;
  if (d.segment() || d.type() != systype::ldt || !d.present())
    return refuse(cpu, Vector::ts, selector, ext);
  segment(cpu, Seg::ldtr) = d.cache(selector);
  return true;
}

bool load_code(Cpu& cpu, u16 selector, u32 ext) {
  Descriptor d;
  if (is_null(selector)) return refuse(cpu, Vector::ts, 0, ext);
  if (!read_descriptor(cpu, selector, d, Vector::ts, ext)) return false;
  const unsigned rpl = rpl_of(selector);
  if (!d.code() || (d.conforming() ? d.dpl() > rpl : d.dpl() != rpl))
    return refuse(cpu, Vector::ts, selector, ext);
  if (!d.present()) return refuse(cpu, Vector::np, selector, ext);
  if (!mark_accessed(cpu, d)) return false;
  commit_segment(cpu, Seg::cs, d.cache(selector));
  return true;
}

bool load_stack(Cpu& cpu, u16 selector, u32 ext) {
  Descriptor d;
  if (!check_stack_segment(cpu, selector, cpu.cpl(), Vector::ts, ext, d) || !mark_accessed(cpu, d))
    return false;
  commit_segment(cpu, Seg::ss, d.cache(selector));
  return true;
}

bool load_data(Cpu& cpu, Seg seg, u16 selector, u32 ext) {
  if (is_null(selector)) return true;
  Descriptor d;
  if (!read_descriptor(cpu, selector, d, Vector::ts, ext)) return false;
  const bool level_ok =
      d.conforming() || (rpl_of(selector) <= d.dpl() && cpu.cpl() <= d.dpl());
  if (!d.readable() || !level_ok) return refuse(cpu, Vector::ts, selector, ext);
  if (!d.present()) return refuse(cpu, Vector::np, selector, ext);
  if (!mark_accessed(cpu, d)) return false;
  commit_segment(cpu, seg, d.cache(selector));
  return true;
}

bool load_segments(Cpu& cpu, const TaskState& t, u32 ext) {
  const auto selector = [&](Seg seg) { return t.selector[static_cast<u8>(seg)]; };
  if (!load_ldt(cpu, t.ldt, ext)) return false;
  if (!cpu.v86_mode()) {
    if (!load_code(cpu, selector(Seg::cs), ext) || !load_stack(cpu, selector(Seg::ss), ext))
      return false;
    for (const Seg seg : {Seg::ds, Seg::es, Seg::fs, Seg::gs})
      if (!load_data(cpu, seg, selector(seg), ext)) return false;
  }
  cpu.update_mode();
  return true;
}

bool push_error(Cpu& cpu, const TaskRequest& q) {
  if (!q.has_error) return true;
  FarStack stack(cpu);
  if (!stack.push(q.error, segment(cpu, Seg::tr).access & 8 ? 4 : 2)) return false;
  stack.commit();
  return true;
}

}  // namespace

bool switch_task(Cpu& cpu, const TaskRequest& q) {
  const Cpu::AllAtOnce guard(cpu);
  Descriptor next;
  TaskState t;
  if (!find_tss(cpu, q, next) || !read_task(cpu, next.base(), next.type() & 8, t) ||
      !save_old(cpu, q, next))
    return false;
  commit(cpu, q, next, t);
  cpu.suppress_single_step();
  const bool wide = next.type() & 8;
  if ((wide && !load_address_space(cpu, t)) || !load_segments(cpu, t, q.ext)) {
    cpu.update_mode();
    return false;
  }
  if (t.trap) cpu.add_debug_trap(x86::dr::dr6_bt);
  if (!push_error(cpu, q)) return false;
  if (cpu.rip <= segment(cpu, Seg::cs).limit) return true;
  return refuse(cpu, Vector::gp, 0, q.ext);
}

Step task_instruction(Cpu& cpu, const TaskRequest& q) {
  const u16 old_task = segment(cpu, Seg::tr).selector;
  return switch_task(cpu, q) ? Step::stop : task_failed(cpu, old_task);
}

Step task_failed(Cpu& cpu, u16 old_task) {
  if (segment(cpu, Seg::tr).selector == old_task || cpu.failed() != Step::fault)
    return cpu.failed();
  const Fault fault = cpu.fault();
  return cpu.deliver(fault, Cpu::EventKind::exception, cpu.rip) ? Step::stop : cpu.failed();
}

bool task_gate_target(Cpu& cpu, const Descriptor& gate, u32 ext, u16& selector) {
  selector = gate.gate_selector();
  if (selector & 4) return refuse(cpu, Vector::gp, selector, ext);
  return true;
}

}  // namespace bhyve::soft
