// Software interrupts, SYSCALL and SYSENTER with their returns (SDM vol. 2; vol. 3, 5.8.7, 5.8.8).
#include "engine/soft/system/descriptor.hpp"
#include "engine/soft/system/events.hpp"
#include "engine/soft/system/system.hpp"
#include "engine/soft/system/task_switch.hpp"

namespace bhyve::soft {

using x86::Gpr;
using x86::Seg;
using x86::Segment;
using x86::Vector;
namespace rfl = x86::rflags;

namespace {

Step software_event(Cpu& cpu, const Insn& i, u8 vector, Cpu::EventKind kind) {
  const Event event{{static_cast<Vector>(vector), false, 0}, kind, cpu.next_rip(i)};
  cpu.suppress_single_step();
  const u16 task = cpu.s.seg[static_cast<u8>(Seg::tr)].selector;
  return deliver_once(cpu, event) ? Step::stop : task_failed(cpu, task);
}

/// INT n in V86 mode with CR4.VME: bit n of the redirection bitmap, the 32 bytes below the I/O map
/// of the TSS (SDM vol. 3, 21.3.3). False: failed().
bool redirected(Cpu& cpu, u8 vector, bool& to_v86) {
  const Segment& tr = cpu.s.seg[static_cast<u8>(Seg::tr)];
  to_v86 = false;
  u16 map = 0;
  if (tr.limit < 103) return true;
  if (!cpu.read_system(tr.base + 102, map)) return false;
  if (map < 32 || map - 32u + vector / 8 > tr.limit) return true;
  u8 bits = 0;
  if (!cpu.read_system(tr.base + map - 32 + vector / 8, bits)) return false;
  to_v86 = !(bits >> (vector % 8) & 1);
  return true;
}

Step int_v86_redirected(Cpu& cpu, const Insn& i, u8 vector) {
  cpu.suppress_single_step();
  const bool virtual_if = iopl(cpu) < 3;
  u32 target = 0;
  if (!cpu.read(u64{vector} * 4, target)) return cpu.failed();
  const u64 flags = cpu.rflags();
  u64 image = flags;
  if (virtual_if) {
    image = (flags | rfl::iopl) & ~rfl::if_;
    if (flags & rfl::vif) image |= rfl::if_;
  }
  FarStack stack(cpu);
  if (!stack.push(image & 0xffff, 2) ||
      !stack.push(cpu.s.seg[static_cast<u8>(Seg::cs)].selector, 2) ||
      !stack.push(cpu.next_rip(i) & 0xffff, 2))
    return cpu.failed();
  stack.commit();
  cpu.load_rflags(flags & ~(rfl::tf | rfl::nt | (virtual_if ? rfl::vif : rfl::if_)));
  commit_code(cpu, v86_segment(static_cast<u16>(target >> 16)), 3, target & 0xffff);
  return Step::stop;
}

}  // namespace

Step h_int(Cpu& cpu, const Insn& i) {
  const u8 vector = static_cast<u8>(i.imm);
  if (cpu.v86_mode()) {
    if (cpu.s.cr4 & x86::cr4::vme) {
      bool to_v86 = false;
      if (!redirected(cpu, vector, to_v86)) return cpu.failed();
      if (to_v86) return int_v86_redirected(cpu, i, vector);
    }
    if (iopl(cpu) < 3) return cpu.gp0();
  }
  return software_event(cpu, i, vector, Cpu::EventKind::software_int);
}

Step h_int3(Cpu& cpu, const Insn& i) {
  if (cpu.bpt_exit) return cpu.leave_with(abi::ExitCode::bpt);
  return software_event(cpu, i, 3, Cpu::EventKind::software_exception);
}

Step h_into(Cpu& cpu, const Insn& i) {
  if (!(cpu.flags & packed_of)) return Step::next;
  return software_event(cpu, i, 4, Cpu::EventKind::software_exception);
}

Step h_icebp(Cpu& cpu, const Insn& i) {
  // INT1 is a #DB without DPL check; DR6 stays as it is, but for data breakpoints that MOV SS put
  // off: there is one #DB for both. A fault on the way belongs to it, which deliver() handles like
  // those of other exceptions.
  cpu.suppress_single_step();
  cpu.join_debug_trap();
  return cpu.deliver({Vector::db, false, 0}, Cpu::EventKind::exception, cpu.next_rip(i))
             ? Step::stop
             : cpu.failed();
}

Step h_bound(Cpu& cpu, const Insn& i) {
  const unsigned size = bytes_of(i);
  const Seg seg = static_cast<Seg>(+i.seg);
  u64 la = 0, low = 0, high = 0;
  if (!cpu.linear(i, 2 * size, false, la) || !read_sized(cpu, la, size, low, seg) ||
      !read_sized(cpu, la + size, size, high, seg))
    return cpu.failed();
  const unsigned shift = 64 - 8 * size;
  const auto extend = [shift](u64 v) { return static_cast<i64>(v << shift) >> shift; };
  const i64 index = extend(cpu.reg<u64>(i.dst));
  return index < extend(low) || index > extend(high) ? cpu.raise(Vector::br) : Step::next;
}

Step h_syscall(Cpu& cpu, const Insn& i) {
  if (!cpu.code64() || !(cpu.s.efer & x86::efer::sce)) return cpu.ud();
  const u64 flags = cpu.rflags();
  cpu.r(Gpr::rcx) = cpu.next_rip(i);
  cpu.r(Gpr::r11) = flags & ~rfl::rf;
  cpu.load_rflags((flags & ~(cpu.s.sfmask | rfl::rf)) | rfl::fixed1);
  if (!(cpu.sysflags & rfl::tf)) cpu.suppress_single_step();
  const u16 cs = static_cast<u16>(cpu.s.star >> 32 & 0xfffc);
  cpu.s.seg[static_cast<u8>(Seg::ss)] = flat_data(static_cast<u16>(cs + 8), 0);
  commit_code(cpu, flat_code(cs, 0, true), 0, cpu.s.lstar);
  return Step::stop;
}

Step h_sysret(Cpu& cpu, const Insn& i) {
  if (!cpu.code64() || !(cpu.s.efer & x86::efer::sce)) return cpu.ud();
  const bool to64 = i.size == 3;
  const u64 target = to64 ? cpu.r(Gpr::rcx) : static_cast<u32>(cpu.r(Gpr::rcx));
  if (cpu.cpl() != 0 || !x86::is_canonical(target)) return cpu.gp0();
  constexpr u64 writable = 0x3c7fd7;  // SDM vol. 2, SYSRET: not RF, VM
  cpu.load_rflags((cpu.r(Gpr::r11) & writable) | rfl::fixed1);
  const u16 base = static_cast<u16>(cpu.s.star >> 48);
  const u16 cs = static_cast<u16>((to64 ? base + 16 : base) | 3);
  cpu.s.seg[static_cast<u8>(Seg::ss)] = flat_data(static_cast<u16>((base + 8) | 3), 3);
  commit_code(cpu, flat_code(cs, 3, to64), 3, target);
  return Step::stop;
}

Step h_sysenter(Cpu& cpu, const Insn&) {
  const u16 cs = static_cast<u16>(cpu.s.sysenter_cs & 0xfffc);
  if (!cpu.protected_mode() || cs == 0) return cpu.gp0();
  const bool wide = cpu.long_mode();
  cpu.load_rflags(cpu.rflags() & ~(rfl::vm | rfl::if_ | rfl::rf));
  cpu.s.seg[static_cast<u8>(Seg::ss)] = flat_data(static_cast<u16>(cs + 8), 0);
  commit_code(cpu, flat_code(cs, 0, wide), 0,
              wide ? cpu.s.sysenter_eip : static_cast<u32>(cpu.s.sysenter_eip));
  cpu.r(Gpr::rsp) = wide ? cpu.s.sysenter_esp : static_cast<u32>(cpu.s.sysenter_esp);
  return Step::stop;
}

Step h_sysexit(Cpu& cpu, const Insn& i) {
  const u16 base = static_cast<u16>(cpu.s.sysenter_cs & 0xfffc);
  if (!cpu.protected_mode() || base == 0 || cpu.cpl() != 0) return cpu.gp0();
  const bool to64 = cpu.code64() && i.size == 3;
  u64 rip = cpu.r(Gpr::rdx), rsp = cpu.r(Gpr::rcx);
  if (!to64) {
    rip = static_cast<u32>(rip);
    rsp = static_cast<u32>(rsp);
  }
  if (!x86::is_canonical(rip) || !x86::is_canonical(rsp)) return cpu.gp0();
  const u16 cs = static_cast<u16>((base + (to64 ? 32 : 16)) | 3);
  cpu.s.seg[static_cast<u8>(Seg::ss)] = flat_data(static_cast<u16>(cs + 8), 3);
  commit_code(cpu, flat_code(cs, 3, to64), 3, rip);
  cpu.r(Gpr::rsp) = rsp;
  return Step::stop;
}

}  // namespace bhyve::soft
