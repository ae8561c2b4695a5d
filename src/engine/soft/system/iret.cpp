// IRET in all modes (SDM vol. 2, IRET).
#include "engine/soft/system/far_transfer.hpp"
#include "engine/soft/system/system.hpp"
#include "engine/soft/system/task_switch.hpp"

namespace bhyve::soft {

using x86::Seg;
using x86::Segment;
using x86::Vector;
namespace rfl = x86::rflags;

namespace {

constexpr u64 user_flags = rfl::arithmetic | rfl::tf | rfl::df | rfl::nt;
constexpr u64 wide_flags = rfl::rf | rfl::ac | rfl::id;

/// Sets the flags of `mask` from `image`. RF is kept only while instruction breakpoints could
/// fire: every instruction that completes clears it, and nobody else can see it.
void apply_flags(Cpu& cpu, u64 image, u64 mask) {
  u64 flags = (cpu.rflags() & ~mask) | (image & mask) | rfl::fixed1;
  if (!(cpu.s.dr7 & 0xff)) flags &= ~rfl::rf;
  cpu.load_rflags(flags);
}

/// IRET ends the blocking of NMIs: one that waited is taken before the next instruction.
void unblock_nmi(Cpu& cpu) {
  if (!cpu.s.nmi_blocked) return;
  cpu.s.nmi_blocked = false;
  cpu.request_check();
}

struct Frame {
  u64 rip = 0, cs = 0, flags = 0;
};

bool pop_frame(FarStack& stack, Frame& f, unsigned size) {
  return stack.pop(f.rip, size) && stack.pop(f.cs, size) && stack.pop(f.flags, size);
}

Step iret_real(Cpu& cpu, const Insn& i) {
  const unsigned size = bytes_of(i);
  FarStack stack(cpu);
  Frame f;
  if (!pop_frame(stack, f, size)) return cpu.failed();
  if (f.rip > cpu.s.seg[static_cast<u8>(Seg::cs)].limit) return cpu.gp0();
  unblock_nmi(cpu);
  stack.commit();
  const u64 mask = user_flags | rfl::if_ | rfl::iopl | (size == 4 ? wide_flags : 0);
  apply_flags(cpu, f.flags, mask);
  commit_code(cpu, real_segment(cpu, Seg::cs, static_cast<u16>(f.cs)), 0, f.rip);
  return Step::stop;
}

Step iret_v86(Cpu& cpu, const Insn& i) {
  const unsigned size = bytes_of(i);
  const bool virtual_if = iopl(cpu) < 3;
  if (virtual_if && (size != 2 || !(cpu.s.cr4 & x86::cr4::vme))) return cpu.gp0();
  FarStack stack(cpu);
  Frame f;
  if (!pop_frame(stack, f, size)) return cpu.failed();
  if (f.rip > 0xffff) return cpu.gp0();
  const bool sets_if = f.flags & rfl::if_;
  if (virtual_if && (f.flags & rfl::tf || (sets_if && cpu.sysflags & rfl::vip))) return cpu.gp0();
  unblock_nmi(cpu);
  stack.commit();
  if (virtual_if) {
    apply_flags(cpu, f.flags | (sets_if ? rfl::vif : 0), user_flags | rfl::vif);
  } else {
    apply_flags(cpu, f.flags, user_flags | rfl::if_ | (size == 4 ? wide_flags : 0));
  }
  commit_code(cpu, v86_segment(static_cast<u16>(f.cs)), 3, f.rip);
  return Step::stop;
}

Step return_to_v86(Cpu& cpu, FarStack& stack, const Frame& f) {
  u64 esp = 0;
  std::array<u64, 5> words{};  // SS, ES, DS, FS, GS
  if (!stack.pop(esp, 4)) return cpu.failed();
  for (u64& word : words)
    if (!stack.pop(word, 4)) return cpu.failed();
  constexpr std::array<Seg, 5> order{Seg::ss, Seg::es, Seg::ds, Seg::fs, Seg::gs};
  for (unsigned n = 0; n < order.size(); ++n)
    cpu.s.seg[static_cast<u8>(order[n])] = v86_segment(static_cast<u16>(words[n]));
  apply_flags(cpu, f.flags, user_flags | wide_flags | rfl::if_ | rfl::iopl | rfl::vm | rfl::vif |
                                rfl::vip);
  commit_code(cpu, v86_segment(static_cast<u16>(f.cs)), 3, f.rip & 0xffff);
  cpu.r(x86::Gpr::rsp) = esp;
  return Step::stop;
}

/// The flags that IRET may change at the current privilege.
u64 iret_mask(const Cpu& cpu, unsigned size) {
  u64 mask = user_flags;
  if (size != 2) mask |= wide_flags;
  if (cpu.cpl() <= iopl(cpu)) mask |= rfl::if_;
  if (cpu.cpl() == 0) mask |= rfl::iopl | (size != 2 ? rfl::vif | rfl::vip : 0);
  return mask;
}

/// NT: back to the task that the link in the TSS names.
Step iret_task(Cpu& cpu, const Insn& i) {
  TaskRequest q;
  if (!cpu.read_system(cpu.s.seg[static_cast<u8>(Seg::tr)].base, q.selector)) return cpu.failed();
  q.reason = TaskReason::iret;
  q.return_rip = cpu.next_rip(i);
  q.flags_image = cpu.rflags();
  const Step result = task_instruction(cpu, q);
  if (result == Step::stop) unblock_nmi(cpu);
  return result;
}

Step iret_protected(Cpu& cpu, const Insn& i) {
  const unsigned size = bytes_of(i);
  if (cpu.sysflags & rfl::nt) return cpu.long_mode() ? cpu.gp0() : iret_task(cpu, i);
  FarStack stack(cpu);
  Frame f;
  if (!pop_frame(stack, f, size)) return cpu.failed();
  if (!cpu.long_mode() && size == 4 && f.flags & rfl::vm && cpu.cpl() == 0) {
    const Step result = return_to_v86(cpu, stack, f);
    if (result == Step::stop) unblock_nmi(cpu);
    return result;
  }
  const u16 selector = static_cast<u16>(f.cs);
  Descriptor cs;
  if (!check_return_code(cpu, selector, cs)) return cpu.failed();
  const unsigned cpl = rpl_of(selector);
  const bool outer = cpl != cpu.cpl();
  const u64 mask = iret_mask(cpu, size);
  u64 rsp = 0, ss_word = 0;
  ReturnStack to;
  const bool pops_stack = outer || cpu.code64();
  if (pops_stack && (!stack.pop(rsp, size) || !stack.pop(ss_word, size) ||
                     !check_return_stack(cpu, static_cast<u16>(ss_word), cs, cpl, to)))
    return cpu.failed();
  if (!finish_return_checks(cpu, cs, f.rip, pops_stack ? &to : nullptr)) return cpu.failed();

  unblock_nmi(cpu);
  apply_flags(cpu, f.flags, mask);
  if (pops_stack) {
    commit_outer(cpu, cs.cache(selector), cpl, f.rip, to.segment(cpl), rsp);
  } else {
    stack.commit();
    commit_code(cpu, cs.cache(selector), cpl, f.rip);
  }
  if (outer) drop_inner_segments(cpu, cpl);
  return Step::stop;
}

}  // namespace

Step h_iret(Cpu& cpu, const Insn& i) {
  if (cpu.real_mode()) return iret_real(cpu, i);
  return cpu.v86_mode() ? iret_v86(cpu, i) : iret_protected(cpu, i);
}

}  // namespace bhyve::soft
