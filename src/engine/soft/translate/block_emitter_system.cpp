// What kernels execute on each entry and around each lock: native where TranslatedFrame::rights say so, the
// handler's otherwise.
#include "engine/soft/cpu.hpp"
#include "engine/soft/translate/block_emitter.hpp"

namespace bhyve::soft {

namespace rfl = x86::rflags;

namespace {

/// Whether an event can come in before the instruction is executed, by a poll or because its handler looks:
/// what STI holds off must not.
bool may_give_way(Kind kind) {
  switch (kind) {
    case Kind::ret:
    case Kind::jump_indirect:
    case Kind::call_indirect:
    case Kind::rdtsc:
    case Kind::rdtscp:
    case Kind::callout: return true;
    default: return false;
  }
}

constexpr u32 low_half(u64 v) { return static_cast<u32>(v); }

}  // namespace

void BlockEmitter::need_right(const GuestInsn& g, Right right) {
  clobber_flags(g.reads | (g.live_after & ~g.writes));
  held_ = BlockWindows::none;
  c_.rm(0xf6, 0, state(rights_), false);  // test byte [rights], right
  c_.byte(static_cast<u8>(right));
  Cold cold{Cold::Kind::callout};
  cold.from = c_.jump_if(cc::z);
  cold.g = &g;
  cold_.push_back(cold);
  open_gates_ = 0;
}

void BlockEmitter::change_sysflags(unsigned alu, u32 mask) {
  c_.rm(0x81, static_cast<u8>(alu), state(t_.offset(t_.cpu().sysflags)), false);
  c_.word(mask);
}

void BlockEmitter::emit_cli(const GuestInsn& g) {
  need_right(g, Right::supervisor);
  change_sysflags(op::and_, low_half(~rfl::if_));
}

/// No event may come between STI and the instruction after it (SDM vol. 2, STI). None is known to wait when
/// the right is there, and one that comes now is met by a poll, which is behind that instruction.
void BlockEmitter::emit_sti(const GuestInsn& g) {
  const unsigned next = number(g) + 1;
  if (next == g_.size() || may_give_way(g_[next].kind)) return emit_callout(g);
  need_right(g, Right::interrupts);
  change_sysflags(op::or_, low_half(rfl::if_));
}

void BlockEmitter::emit_stac(const GuestInsn& g) {
  const bool allow = g.modrm == 0xcb;
  need_right(g, Right::smap);
  if (allow)
    change_sysflags(op::or_, low_half(rfl::ac));
  else
    change_sysflags(op::and_, low_half(~rfl::ac));
  c_.load(host::s0, state(t_.offset(t_.cpu().translated.tlb_by_ac[allow])));
  c_.store(state(tlb_), host::s0);
  c_.move_imm(host::s0, TranslatedFrame::no_stack);
  c_.store(state(stack_key_), host::s0);
}

void BlockEmitter::emit_swapgs(const GuestInsn& g) {
  Cpu& cpu = t_.cpu();
  constexpr auto gs = static_cast<u8>(x86::Seg::gs);
  need_right(g, Right::supervisor);
  const HostMem base = state(t_.offset(cpu.s.seg[gs].base)),
                other = state(t_.offset(cpu.s.fs_kernel_gs_base));
  c_.load(host::s0, base);
  c_.load(host::s1, other);
  c_.store(other, host::s0);
  c_.store(base, host::s1);
  c_.store(state(t_.offset(cpu.seg_base[gs])), host::s1);
}

/// RDTSC and RDTSCP, as Cpu::read_clock() does it; once in a while the interpreter does, with the registers
/// as they were.
void BlockEmitter::emit_rdtsc(const GuestInsn& g) {
  Cpu& cpu = t_.cpu();
  need_right(g, g.kind == Kind::rdtscp ? Right::tscp : Right::tsc);
  c_.move(host::s0, host::rax);
  c_.move(host::s1, host::rdx);
  c_.byte(0x0f), c_.byte(0xae), c_.byte(0xe8);                // lfence
  c_.byte(0x0f), c_.byte(0x31);                               // rdtsc
  c_.byte(0x48), c_.byte(0xc1), c_.byte(0xe2), c_.byte(32);   // shl rdx, 32
  c_.rr(0x0b, host::rax, host::rdx);
  c_.rm(0x03, host::rax, state(t_.offset(cpu.s.tsc_offset)));
  c_.move(host::rdx, host::rax);
  c_.rm(0x2b, host::rdx, state(t_.offset(cpu.clock_seen_)));
  c_.alu_imm(op::cmp, host::rdx, Cpu::clock_interval);
  c_.rr(0x0f43, host::rax, host::s0);                         // cmovae: as they were
  c_.rr(0x0f43, host::rdx, host::s1);
  Cold cold{Cold::Kind::callout};
  cold.from = c_.jump_if(cc::ae);
  cold.g = &g;
  cold_.push_back(cold);
  c_.move(host::rdx, host::rax);
  c_.byte(0x48), c_.byte(0xc1), c_.byte(0xea), c_.byte(32);   // shr rdx, 32
  c_.rr(0x8b, host::rax, host::rax, false);
  if (g.kind == Kind::rdtscp) c_.rm(0x8b, host::rcx, state(t_.offset(cpu.s.tsc_aux)), false);
}

/// The image: sysflags without RF and VM, and the arithmetic flags from where they are packed.
void BlockEmitter::emit_pushf(const GuestInsn& g) {
  const HostMem image = state(temporary_ + 8);  // the stack's check uses the first
  clobber_flags(flag::all);
  held_ = BlockWindows::none;
  c_.rm(0x0fb6, host::s0, state(flags_ + 1), false);           // movzx s0d, byte [flags + 1]
  c_.alu_imm(op::and_, host::s0, static_cast<i32>(rfl::arithmetic & 0xff), false);
  c_.rm(0x0fb6, host::s1, state(flags_), false);
  c_.byte(0x41), c_.byte(0xc1);                                // shl s1d, 11
  c_.modrm(4, host::s1);
  c_.byte(11);
  c_.rr(0x0b, host::s0, host::s1, false);
  c_.rm(0x0b, host::s0, state(t_.offset(t_.cpu().sysflags)));
  c_.alu_imm(op::and_, host::s0, static_cast<i32>(~(rfl::rf | rfl::vm)));
  c_.store(image, host::s0);
  const HostMem to = stack_operand(g, -g.word(), true);
  c_.lea(host::s1, to);
  held_ = BlockWindows::none;
  c_.load(host::s0, image);
  c_.store({host::s1}, host::s0);
  move_rsp(-g.word());
}

}  // namespace bhyve::soft
