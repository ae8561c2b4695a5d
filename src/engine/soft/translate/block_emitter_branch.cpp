// The stack, calls, returns and jumps, and the ways out of a block.
#include "engine/soft/cpu.hpp"
#include "engine/soft/translate/block_emitter.hpp"

namespace bhyve::soft {

namespace {
constexpr HostMem translated{host::s0, 0, host::s1};
}

void BlockEmitter::emit_push(const GuestInsn& g) {
  clobber_flags(g.live_after);
  c_.lea(host::s0, {host::guest_rsp, -8});
  check(g, 8, true);
  if (g.kind == Kind::push_imm) {
    c_.rm(0xc7, 0, translated);
    c_.word(static_cast<u32>(g.insn->imm));
  } else {
    const u8 guest = static_cast<u8>((g.opcode & 7) | (g.rex & 1u) << 3);
    const u8 h = host::of_guest[guest];
    if (h != host::in_memory) {
      c_.store(translated, h);
    } else {
      c_.lea(host::s1, translated);
      c_.load(host::s0, home(guest));
      c_.store({host::s1}, host::s0);
    }
  }
  c_.lea(host::guest_rsp, {host::guest_rsp, -8});
}

void BlockEmitter::emit_pop(const GuestInsn& g) {
  clobber_flags(g.live_after);
  c_.lea(host::s0, {host::guest_rsp});
  check(g, 8, false);
  const u8 guest = static_cast<u8>((g.opcode & 7) | (g.rex & 1u) << 3);
  const u8 h = host::of_guest[guest];
  c_.lea(host::guest_rsp, {host::guest_rsp, 8});
  if (h != host::in_memory) {
    c_.load(h, translated);
  } else {
    c_.load(host::s0, translated);
    c_.store(home(guest), host::s0);
  }
}

void BlockEmitter::emit_leave(const GuestInsn& g) {
  clobber_flags(g.live_after);
  c_.lea(host::s0, {host::rbp});
  check(g, 8, false);
  c_.lea(host::guest_rsp, {host::rbp, 8});
  c_.load(host::rbp, translated);
}

void BlockEmitter::poll_here(const GuestInsn& g) {
  c_.rm(0x83, 7, state(poll_), false);  // cmp dword [poll], 0
  c_.byte(0);
  Cold cold{Cold::Kind::poll_here};
  cold.from = c_.jump_if(cc::ne);
  cold.g = &g;
  cold_.push_back(cold);
}

void BlockEmitter::look_up(const GuestInsn& g) {
  c_.rr(0x8b, host::s1, host::s0, false);
  c_.alu_imm(op::and_, host::s0, -4096);
  c_.alu_imm(op::and_, host::s1, 0xfff, false);
  c_.byte(0x41), c_.byte(0xc1);  // shl s1d, 4
  c_.modrm(4, host::s1);
  c_.byte(4);
  c_.rm(0x33, host::s0, state(key_));
  c_.rm(0x3b, host::s0, {host::cpu, jumps_, host::s1});
  Cold cold{Cold::Kind::callout};
  cold.from = c_.jump_if(cc::ne);
  cold.g = &g;
  cold_.push_back(cold);
  c_.rm(0x33, host::s0, state(key_));
}

void BlockEmitter::jump_to_entry() {
  c_.rm(0xff, 4, {host::cpu, jumps_ + 8, host::s1}, false);
}

void BlockEmitter::emit_ret(const GuestInsn& g) {
  clobber_flags(flag::all);
  poll_here(g);
  c_.lea(host::s0, {host::guest_rsp});
  check(g, 8, false);
  c_.load(host::s0, translated);
  look_up(g);
  c_.store(state(page_), host::s0);
  c_.lea(host::guest_rsp, {host::guest_rsp, static_cast<i32>(8 + g.insn->imm)});
  jump_to_entry();
}

/// s0 = target of an indirect branch. False: the operand is in memory and was checked.
void BlockEmitter::emit_jump_indirect(const GuestInsn& g) {
  clobber_flags(flag::all);
  poll_here(g);
  if (g.memory()) {
    address(*g.insn);
    check(g, 8, false);
    c_.load(host::s0, translated);
  } else if (const u8 h = host::of_guest[g.rm()]; h != host::in_memory) {
    c_.move(host::s0, h);
  } else {
    c_.load(host::s0, home(g.rm()));
  }
  if (g.kind == Kind::call_indirect) return;
  look_up(g);
  c_.store(state(page_), host::s0);
  jump_to_entry();
}

void BlockEmitter::emit_call_indirect(const GuestInsn& g) {
  emit_jump_indirect(g);
  c_.store(state(temporary_), host::s0);  // the target
  c_.lea(host::s0, {host::guest_rsp, -8});
  check(g, 8, true);
  c_.lea(host::s1, translated);
  c_.store(state(temporary_ + 8), host::s1);  // where the return address goes
  c_.load(host::s0, state(temporary_));
  look_up(g);
  c_.store(state(temporary_), host::s1);
  c_.store(state(temporary_ + 16), host::s0);
  load_page(host::s0);
  c_.lea(host::s0, {host::s0, static_cast<i32>(offset_after(g))});
  c_.load(host::s1, state(temporary_ + 8));
  c_.store({host::s1}, host::s0);
  c_.load(host::s0, state(temporary_ + 16));
  c_.store(state(page_), host::s0);
  c_.lea(host::guest_rsp, {host::guest_rsp, -8});
  c_.load(host::s1, state(temporary_));
  jump_to_entry();
}

void BlockEmitter::emit_call(const GuestInsn& g) {
  const i64 target = target_of(g);
  const u8 live = live_at(target);
  clobber_flags(live);
  c_.lea(host::s0, {host::guest_rsp, -8});
  check(g, 8, true);
  c_.lea(host::s1, translated);
  load_page(host::s0);
  c_.lea(host::s0, {host::s0, static_cast<i32>(offset_after(g))});
  c_.store({host::s1}, host::s0);
  c_.lea(host::guest_rsp, {host::guest_rsp, -8});
  emit_exit(target, target <= offset_of(g), live);
}

void BlockEmitter::emit_jump_cond(const GuestInsn& g) {
  const unsigned condition = g.opcode & 15;
  const i64 target = target_of(g);
  const bool backward = target <= offset_of(g);
  const bool save = live_at(target) && !in_memory_;
  flags_to_host(g.reads);
  const bool same_page = target >= 0 && target < static_cast<i64>(page_size);
  if (backward) {
    u8* over = c_.jump_if(condition ^ 1);
    const bool host_before = in_host_, memory_before = in_memory_;
    emit_exit(target, true, live_at(target));
    in_host_ = host_before, in_memory_ = memory_before;
    c_.here(over);
    return;
  }
  Cold cold{save ? Cold::Kind::exit_flags : Cold::Kind::exit};
  cold.from = c_.jump_if(condition);
  cold.g = &g;
  cold.target = target;
  cold.exit = t_.new_exit({});
  exits.push_back(cold.exit);
  // Without anything to do on the way the jump itself is what gets linked.
  if (same_page && !save) t_.exit(cold.exit).jump = cold.from;
  cold_.push_back(cold);
}

void BlockEmitter::emit_link(i64 target, u32 exit) {
  Translator::Exit& e = t_.exit(exit);
  e.page_offset = static_cast<u32>(target & page_mask);
  if (target >= 0 && target < static_cast<i64>(page_size)) return;
  load_other_page(target & ~i64{page_mask});
  c_.store(state(page_), host::s0);
  e.tag = compare_tag();
}

void BlockEmitter::load_other_page(i64 distance) {
  load_page(host::s0);
  c_.alu_imm(op::add, host::s0, static_cast<i32>(distance));
}

u8* BlockEmitter::compare_tag() {
  c_.rm(0x33, host::s0, state(key_));
  // cmp s0, [rip + tag]; the tag is placed with the cold code.
  c_.byte(0x4c), c_.byte(0x3b), c_.byte(0x15);
  u8* tag = c_.at();
  c_.word(0);
  return tag;
}

void BlockEmitter::check_second_page() {
  load_other_page(page_size);
  second_page_tag = compare_tag();
  Cold cold{Cold::Kind::poll_here};
  cold.from = c_.jump_if(cc::ne);
  cold.g = &g_[0];
  cold_.push_back(cold);
}

void BlockEmitter::emit_exit(i64 target, bool backward, bool flags_wanted) {
  clobber_flags(flags_wanted ? flag::all : flag::none);
  const u32 exit = t_.new_exit({});
  exits.push_back(exit);
  emit_link(target, exit);
  const bool other_page = t_.exit(exit).tag != nullptr;
  Cold cold{Cold::Kind::exit};
  cold.exit = exit;
  cold.target = target;
  cold.back = c_.at();  // marks that the link code has been emitted
  if (other_page) {
    cold.from = c_.jump_if(cc::ne);
    cold_.push_back(cold);
    cold.from = nullptr;
  }
  if (backward) {
    c_.rm(0x83, 7, state(poll_), false);
    c_.byte(0);
    Cold poll{Cold::Kind::poll};
    poll.from = c_.jump_if(cc::ne);
    poll.exit = exit;
    cold_.push_back(poll);
  }
  u8* jump = c_.jump();
  t_.exit(exit).jump = jump;
  if (!other_page) {
    cold.from = jump;
    cold_.push_back(cold);
  } else {
    t_.exit(exit).jump = jump;
    Cold unlinked{Cold::Kind::exit};
    unlinked.exit = exit;
    unlinked.target = target;
    unlinked.back = cold.back;
    unlinked.from = jump;
    cold_.push_back(unlinked);
  }
}

}  // namespace bhyve::soft
