// Event delivery (SDM vol. 3, ch. 6): IVT, protected-mode gates, 64-bit gates, nested faults.
#include "engine/soft/system/events.hpp"

#include "engine/soft/runtime/soft_vm.hpp"
#include "engine/soft/system/descriptor.hpp"
#include "engine/soft/system/system.hpp"
#include "engine/soft/system/task_switch.hpp"

namespace bhyve::soft {

using x86::Seg;
using x86::Segment;
using x86::Vector;
namespace rfl = x86::rflags;

namespace {

/// RFLAGS as pushed: RF is set for faults, so that the instruction breakpoint of the instruction
/// does not fire again (SDM vol. 3, 18.3.1.1).
u64 flags_image(const Cpu& cpu, const Event& e) {
  const u64 flags = cpu.rflags();
  if (e.kind != Cpu::EventKind::exception) return flags;
  switch (e.fault.vector) {
    case Vector::db: case Vector::bp: case Vector::of: case Vector::df: case Vector::mc:
      return flags;
    default: return flags | rfl::rf;
  }
}

bool deliver_real(Cpu& cpu, const Event& e) {
  const unsigned at = e.vector() * 4u;
  if (at + 3 > cpu.s.idtr.limit) {
    cpu.raise(Vector::gp, e.idt_error());
    return false;
  }
  u32 target = 0;
  if (!cpu.read_system(cpu.s.idtr.base + at, target)) return false;
  const u64 flags = cpu.rflags();
  FarStack stack(cpu);
  if (!stack.push(flags & 0xffff, 2) ||
      !stack.push(cpu.s.seg[static_cast<u8>(Seg::cs)].selector, 2) ||
      !stack.push(e.return_rip & 0xffff, 2))
    return false;
  stack.commit();
  cpu.load_rflags(flags & ~(rfl::if_ | rfl::tf | rfl::ac | rfl::rf));
  commit_code(cpu, real_segment(cpu, Seg::cs, static_cast<u16>(target >> 16)), 0, target & 0xffff);
  return true;
}

/// The code segment of a gate, checked. `cs` and the new privilege level come out.
bool gate_code(Cpu& cpu, const Event& e, u16 selector, Descriptor& cs, unsigned& cpl) {
  if (is_null(selector)) {
    cpu.raise(Vector::gp, e.ext());
    return false;
  }
  if (!read_descriptor(cpu, selector, cs, Vector::gp, e.ext())) return false;
  const u32 error = selector_error(selector) | e.ext();
  const bool long_code = !cpu.long_mode() || (cs.l() && !cs.db());
  cpl = cs.conforming() ? cpu.cpl() : cs.dpl();
  const bool from_v86 = cpu.v86_mode() && (cs.conforming() || cs.dpl() != 0);
  if (!cs.code() || cs.dpl() > cpu.cpl() || !long_code || from_v86) {
    cpu.raise(Vector::gp, error);
    return false;
  }
  if (!cs.present()) {
    cpu.raise(Vector::np, error);
    return false;
  }
  return true;
}

/// Privilege and presence of the gate itself.
bool gate_allowed(Cpu& cpu, const Event& e, const Descriptor& gate, bool type_ok) {
  if (gate.segment() || !type_ok || (e.software() && gate.dpl() < cpu.cpl())) {
    cpu.raise(Vector::gp, e.idt_error());
    return false;
  }
  if (!gate.present()) {
    cpu.raise(Vector::np, e.idt_error());
    return false;
  }
  return true;
}

u64 flags_after(u64 flags, bool interrupt_gate) {
  flags &= ~(rfl::tf | rfl::nt | rfl::rf | rfl::vm);
  return interrupt_gate ? flags & ~rfl::if_ : flags;
}

bool push_frame(FarStack& stack, Cpu& cpu, const Event& e, unsigned size) {
  return stack.push(flags_image(cpu, e), size) &&
         stack.push(cpu.s.seg[static_cast<u8>(Seg::cs)].selector, size) &&
         stack.push(e.return_rip, size) &&
         (!e.fault.has_error || stack.push(e.fault.error, size));
}

bool read_idt_gate(Cpu& cpu, const Event& e, Descriptor& gate) {
  const unsigned size = cpu.long_mode() ? 16 : 8;
  const unsigned at = e.vector() * size;
  if (at + size - 1 > cpu.s.idtr.limit) {
    cpu.raise(Vector::gp, e.idt_error());
    return false;
  }
  gate.la = cpu.s.idtr.base + at;
  return cpu.read_system(gate.la, gate.raw) &&
         (size == 8 || cpu.read_system(gate.la + 8, gate.high));
}

bool deliver64(Cpu& cpu, const Event& e) {
  Descriptor gate, cs;
  unsigned cpl = 0;
  if (!read_idt_gate(cpu, e, gate)) return false;
  const bool type_ok = gate.type() == systype::int32 || gate.type() == systype::trap32;
  if (!gate_allowed(cpu, e, gate, type_ok) || !gate_code(cpu, e, gate.gate_selector(), cs, cpl))
    return false;

  const u64 old_rsp = cpu.r(x86::Gpr::rsp);
  const Segment old_ss = cpu.s.seg[static_cast<u8>(Seg::ss)];
  const unsigned ist = gate.raw >> 32 & 7;
  const bool inner = cpl < cpu.cpl();
  u64 rsp = cpu.stack_size() == 8 ? old_rsp : static_cast<u32>(old_rsp);
  if (ist ? !read_tss64(cpu, 0x24 + 8 * (ist - 1), rsp, e.ext())
          : inner && !read_tss64(cpu, 4 + 8 * cpl, rsp, e.ext()))
    return false;
  if (!x86::is_canonical(gate.gate_offset64())) {
    cpu.raise(Vector::gp, e.ext());
    return false;
  }

  FarStack stack(cpu, old_ss, rsp, 8, cpl, e.ext());
  stack.align16();
  if (!stack.push(old_ss.selector, 8) || !stack.push(old_rsp, 8) ||
      !push_frame(stack, cpu, e, 8) || !mark_accessed(cpu, cs))
    return false;

  cpu.load_rflags(flags_after(cpu.rflags(), gate.type() == systype::int32));
  if (inner) cpu.s.seg[static_cast<u8>(Seg::ss)] = null_segment(static_cast<u16>(cpl), cpl);
  const u16 selector = static_cast<u16>((gate.gate_selector() & 0xfffc) | cpl);
  commit_code(cpu, cs.cache(selector), cpl, gate.gate_offset64());
  cpu.r(x86::Gpr::rsp) = stack.sp();
  return true;
}

/// Delivery to an inner level, V86 mode included: the stack comes from the TSS.
bool deliver_inner(Cpu& cpu, const Event& e, const Descriptor& gate, Descriptor& cs, unsigned cpl) {
  const unsigned size = gate.type() & 8 ? 4 : 2;
  const u32 offset = size == 4 ? gate.gate_offset32() : static_cast<u16>(gate.raw);
  u16 ss_selector = 0;
  u64 sp = 0;
  Descriptor ss;
  if (!read_tss_stack(cpu, cpl, ss_selector, sp, e.ext()) ||
      !check_stack_segment(cpu, ss_selector, cpl, Vector::ts, e.ext(), ss))
    return false;
  if (offset > cs.limit()) {
    cpu.raise(Vector::gp, e.ext());
    return false;
  }
  const bool from_v86 = cpu.v86_mode();
  FarStack stack(cpu, ss.cache(ss_selector), sp, ss.db() ? 4 : 2, cpl,
                 selector_error(ss_selector) | e.ext());
  if (from_v86)
    for (const Seg seg : {Seg::gs, Seg::fs, Seg::ds, Seg::es})
      if (!stack.push(cpu.s.seg[static_cast<u8>(seg)].selector, size)) return false;
  if (!stack.push(cpu.s.seg[static_cast<u8>(Seg::ss)].selector, size) ||
      !stack.push(cpu.r(x86::Gpr::rsp), size) || !push_frame(stack, cpu, e, size) ||
      !mark_accessed(cpu, ss) || !mark_accessed(cpu, cs))
    return false;

  cpu.load_rflags(flags_after(cpu.rflags(), !(gate.type() & 1)));
  if (from_v86)
    for (const Seg seg : {Seg::gs, Seg::fs, Seg::ds, Seg::es})
      cpu.s.seg[static_cast<u8>(seg)] = null_segment(0);
  cpu.s.seg[static_cast<u8>(Seg::ss)] = ss.cache(ss_selector);
  const u16 selector = static_cast<u16>((gate.gate_selector() & 0xfffc) | cpl);
  commit_code(cpu, cs.cache(selector), cpl, offset);
  stack.commit();
  return true;
}

bool deliver_task(Cpu& cpu, const Event& e, const Descriptor& gate) {
  TaskRequest q;
  if (!task_gate_target(cpu, gate, e.ext(), q.selector)) return false;
  q.reason = TaskReason::event;
  q.return_rip = e.return_rip;
  q.flags_image = flags_image(cpu, e);
  q.ext = e.ext();
  q.has_error = e.fault.has_error;
  q.error = e.fault.error;
  return switch_task(cpu, q);
}

bool deliver_protected(Cpu& cpu, const Event& e) {
  Descriptor gate, cs;
  unsigned cpl = 0;
  if (!read_idt_gate(cpu, e, gate)) return false;
  const unsigned kind = gate.type() & 7;
  const bool task = gate.type() == systype::task_gate;
  const bool type_ok = kind == systype::int16 || kind == systype::trap16 || task;
  if (!gate_allowed(cpu, e, gate, type_ok)) return false;
  if (task) return deliver_task(cpu, e, gate);
  if (!gate_code(cpu, e, gate.gate_selector(), cs, cpl))
    return false;
  if (cpl < cpu.cpl()) return deliver_inner(cpu, e, gate, cs, cpl);

  const unsigned size = gate.type() & 8 ? 4 : 2;
  const u32 offset = size == 4 ? gate.gate_offset32() : static_cast<u16>(gate.raw);
  if (offset > cs.limit()) {
    cpu.raise(Vector::gp, e.ext());
    return false;
  }
  FarStack stack(cpu);
  if (!push_frame(stack, cpu, e, size) || !mark_accessed(cpu, cs)) return false;
  stack.commit();
  cpu.load_rflags(flags_after(cpu.rflags(), !(gate.type() & 1)));
  const u16 selector = static_cast<u16>((gate.gate_selector() & 0xfffc) | cpl);
  commit_code(cpu, cs.cache(selector), cpl, offset);
  return true;
}

enum class Class : u8 { benign, contributory, page_fault };

Class class_of(Vector v) {
  switch (v) {
    case Vector::de: case Vector::ts: case Vector::np: case Vector::ss: case Vector::gp:
    case Vector::cp: return Class::contributory;
    case Vector::pf: case Vector::ve: return Class::page_fault;
    default: return Class::benign;
  }
}

/// What `second`, met while `first` was delivered, turns into (SDM vol. 3, table 6-5). False: the
/// processor shuts down.
bool combine(const Event& first, const Fault& second, Fault& out) {
  out = second;
  if (first.kind != Cpu::EventKind::exception) return true;
  if (first.fault.vector == Vector::df) return false;
  const Class a = class_of(first.fault.vector), b = class_of(second.vector);
  const bool twice = (a == Class::contributory && b == Class::contributory) ||
                     (a == Class::page_fault && b != Class::benign);
  if (twice) out = {Vector::df, true, 0};
  return true;
}

}  // namespace

bool deliver_once(Cpu& cpu, const Event& event) {
  if (cpu.real_mode()) return deliver_real(cpu, event);
  return cpu.long_mode() ? deliver64(cpu, event) : deliver_protected(cpu, event);
}

bool Cpu::deliver(const Fault& f, EventKind kind, u64 return_rip) {
  const AllAtOnce guard(*this);
  Event event{f, kind, return_rip};
  if (vm_.trace) [[unlikely]] trace_event(f, kind, return_rip);
  data_hits_ = 0;
  // Each fault on the way either escalates or is of a kind that cannot fault again; the bound only
  // stops what the architecture leaves open (benign faults in a row).
  for (unsigned attempts = 0; attempts < 8; ++attempts) {
    const u16 task = s.seg[static_cast<u8>(Seg::tr)].selector;
    if (deliver_once(*this, event)) {
      s.interrupt_shadow = debug_shadow_ = false;
      if (data_hits_) add_debug_trap(data_hits_);  // the frame was written where one watches
      if (event.kind == EventKind::nmi) s.nmi_blocked = true;
      if (event.fault.vector == x86::Vector::db && s.dr7 & x86::dr::dr7_gd) {
        s.dr7 &= ~x86::dr::dr7_gd;
        update_mode();
      }
      return true;
    }
    if (failed_ != Step::fault) return false;  // guest memory was unreachable: the exit is filled
    if (s.seg[static_cast<u8>(Seg::tr)].selector != task) return_rip = rip;  // in the new task
    Fault next;
    if (!combine(event, fault_, next)) break;
    event = {next, EventKind::exception, return_rip};
  }
  exit_.suspend = abi::SuspendHow::triplefault;
  leave_with(abi::ExitCode::suspended);
  return false;
}

}  // namespace bhyve::soft
