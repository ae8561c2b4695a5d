// Jumps, and the ways out of a block.
#include "engine/soft/cpu.hpp"
#include "engine/soft/translate/block_emitter.hpp"

namespace bhyve::soft {

void BlockEmitter::poll_here(const GuestInsn& g) {
  c_.rm(0x83, 7, state(poll_), false);  // cmp dword [poll], 0
  c_.byte(0);
  Cold cold{Cold::Kind::poll_here};
  cold.from = c_.jump_if(cc::ne);
  cold.g = &g;
  cold_.push_back(cold);
}

void BlockEmitter::look_up(const GuestInsn& g) {
  Cold cold{Cold::Kind::jump_missed};
  cold.retry = c_.at();
  cold.g = &g;
  held_ = BlockWindows::none;
  if (bmi2_) {  // rorx s1, s0, 12
    c_.byte(0xc4), c_.byte(0x43), c_.byte(0xfb), c_.byte(0xf0);
    c_.modrm(host::s1, host::s0);
  } else {
    c_.move(host::s1, host::s0);
    c_.byte(0x49), c_.byte(0xc1);  // shr s1, 12
    c_.modrm(5, host::s1);
  }
  c_.byte(page_shift);
  c_.rr(0x33, host::s1, host::s0, false);
  c_.alu_imm(op::and_, host::s1, TranslatedState::jump_count - 1, false);
  c_.rr(0x03, host::s1, host::s1, false);  // entries have 16 bytes
  c_.alu_imm(op::and_, host::s0, -4096);
  c_.rm(0x33, host::s0, state(key_));
  c_.rm(0x3b, host::s0, {host::cpu, jumps_, host::s1, 3});
  cold.from = c_.jump_if(cc::ne);
  cold_.push_back(cold);
  c_.rm(0x33, host::s0, state(key_));
}

void BlockEmitter::jump_to_entry() {
  c_.rm(0xff, 4, {host::cpu, jumps_ + 8, host::s1, 3}, false);
}

void BlockEmitter::load_target(const GuestInsn& g) {
  clobber_flags(flag::all);
  poll_here(g);
  if (g.memory()) {
    load_operand(g);
  } else if (const u8 h = host::of_guest[g.rm()]; h != host::in_memory) {
    c_.rr(0x8b, host::s0, h, !code32_);
  } else {
    c_.load(host::s0, home(g.rm()));
  }
}

void BlockEmitter::emit_jump_indirect(const GuestInsn& g) {
  load_target(g);
  look_up(g);
  c_.store(state(page_), host::s0);
  jump_to_entry();
}

/// All that may go wrong comes before anything changes: both accesses are checked and the target found.
void BlockEmitter::emit_call_indirect(const GuestInsn& g) {
  const auto a = stack_access(g);
  const bool in_a_window = windowed(g, a);
  load_target(g);
  const i32 target = temporary_, index = temporary_ + 8;
  if (!in_a_window) {
    c_.store(state(target), host::s0);
    lea_word(host::s0, {host::guest_rsp, -g.word()});
    check(g, g.word(), true);
    c_.lea(host::s1, {host::s0, 0, host::s1});
    c_.store(state(slot_), host::s1);  // where the return address goes; no window is used any more
    c_.load(host::s0, state(target));
  }
  look_up(g);
  c_.store(state(target), host::s0);
  c_.store(state(index), host::s1);
  load_return_address(g);
  if (in_a_window) {
    store_word(in_window(a), host::s0);
  } else {
    c_.load(host::s1, state(slot_));
    store_word({host::s1}, host::s0);
  }
  c_.load(host::s0, state(target));
  c_.store(state(page_), host::s0);
  c_.load(host::s1, state(index));
  move_rsp(-g.word());
  jump_to_entry();
}

void BlockEmitter::emit_jump_cond(const GuestInsn& g) {
  const unsigned condition = g.opcode & 15;
  const i64 target = target_of(g);
  const bool backward = target <= offset_of(g);
  const bool save = g.live_at_target && !in_memory_;
  flags_to_host(g.reads);
  const bool same_page = target >= 0 && target < static_cast<i64>(page_size);
  if (backward) {
    u8* over = c_.jump_if(condition ^ 1);
    const bool host_before = in_host_, memory_before = in_memory_;
    emit_exit(target, true, g.live_at_target);
    in_host_ = host_before, in_memory_ = memory_before;
    c_.here(over);
    return;
  }
  Cold cold{save ? Cold::Kind::exit_flags : Cold::Kind::exit};
  cold.from = c_.jump_if(condition);
  cold.g = &g;
  cold.target = target;
  cold.exit = new_exit();
  // Without anything to do on the way the jump itself is what gets linked.
  if (same_page && !save) exits_[cold.exit].jump = cold.from;
  cold_.push_back(cold);
}

void BlockEmitter::emit_link(i64 target, u32 exit) {
  Exit& e = exits_[exit];
  e.page_offset = static_cast<u32>(target & page_mask);
  if (target >= 0 && target < static_cast<i64>(page_size)) return;
  load_other_page(target & ~i64{page_mask});
  c_.store(state(page_), host::s0);
  e.tag = compare_tag();
}

void BlockEmitter::load_other_page(i64 distance) {
  load_page(host::s0);
  c_.alu_imm(op::add, host::s0, static_cast<i32>(distance), !code32_);
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
  const u32 exit = new_exit();
  emit_link(target, exit);
  const bool other_page = exits_[exit].tag != nullptr;
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
  exits_[exit].jump = jump;
  if (!other_page) {
    cold.from = jump;
    cold_.push_back(cold);
  } else {
    exits_[exit].jump = jump;
    Cold unlinked{Cold::Kind::exit};
    unlinked.exit = exit;
    unlinked.target = target;
    unlinked.back = cold.back;
    unlinked.from = jump;
    cold_.push_back(unlinked);
  }
}

}  // namespace bhyve::soft
