// The stack: PUSH, POP, LEAVE, CALL and RET.
#include "engine/soft/cpu.hpp"
#include "engine/soft/translate/block_emitter.hpp"

namespace bhyve::soft {

HostMem BlockEmitter::stack_operand(const GuestInsn& g, i32 disp, bool write) {
  const auto a = stack_access(g);
  if (windowed(g, a)) return in_window(a);
  clobber_flags(g.live_after);
  lea_word(host::s0, {g.kind == Kind::leave ? host::rbp : host::guest_rsp, disp});
  check(g, g.word(), write);
  return {host::s0, 0, host::s1};
}

void BlockEmitter::emit_push(const GuestInsn& g) {
  HostMem to = stack_operand(g, -g.word(), true);
  if (g.kind == Kind::push_imm) {
    c_.rm(0xc7, 0, to, !code32_);
    c_.word(static_cast<u32>(g.insn->imm));
  } else {
    const u8 guest = static_cast<u8>((g.opcode & 7) | (g.rex & 1u) << 3);
    u8 from = host::of_guest[guest];
    if (from == host::in_memory) {
      if (to.base == host::s0) {
        c_.lea(host::s1, to);
        to = {host::s1};
      }
      c_.load(from = host::s0, home(guest));
    }
    store_word(to, from);
  }
  move_rsp(-g.word());
}

/// With the stack in a window there is one access to look up, and nothing changes before that.
void BlockEmitter::emit_push_memory(const GuestInsn& g) {
  const auto a = stack_access(g);
  if (!windowed(g, a)) return emit_callout(g);
  load_operand(g);
  store_word(in_window(a), host::s0);
  move_rsp(-g.word());
  held_ = BlockWindows::none;  // where the interpreter's handler did it all, s1 is not the addend
}

void BlockEmitter::emit_pop(const GuestInsn& g) {
  const HostMem from = stack_operand(g, 0, false);
  const u8 guest = static_cast<u8>((g.opcode & 7) | (g.rex & 1u) << 3);
  const u8 h = host::of_guest[guest];
  if (h != host::in_memory) {
    load_word(h, from);
  } else {
    load_word(host::s0, from);
    c_.store(home(guest), host::s0);
  }
  if (h != host::guest_rsp) move_rsp(g.word());
}

void BlockEmitter::emit_leave(const GuestInsn& g) {
  const HostMem from = stack_operand(g, 0, false);
  lea_word(host::guest_rsp, {host::rbp, g.word()});
  load_word(host::rbp, from);
}

void BlockEmitter::emit_ret(const GuestInsn& g) {
  clobber_flags(flag::all);
  poll_here(g);
  load_word(host::s0, stack_operand(g, 0, false));
  look_up(g);
  c_.store(state(page_), host::s0);
  move_rsp(static_cast<i32>(g.word() + g.insn->imm));
  jump_to_entry();
}

void BlockEmitter::load_return_address(const GuestInsn& g) {
  load_page(host::s0);
  lea_word(host::s0, {host::s0, static_cast<i32>(offset_after(g))});
}

void BlockEmitter::emit_call(const GuestInsn& g) {
  const i64 target = target_of(g);
  const u8 live = g.live_at_target;
  clobber_flags(live);
  HostMem to = stack_operand(g, -g.word(), true);
  if (to.base == host::s0) {
    c_.lea(host::s1, to);
    to = {host::s1};
  }
  load_return_address(g);
  store_word(to, host::s0);
  move_rsp(-g.word());
  emit_exit(target, target <= offset_of(g), live);
}

}  // namespace bhyve::soft
