#include "engine/soft/translate/block_emitter.hpp"

#include "engine/soft/cpu.hpp"
#include "engine/soft/replay/replay.hpp"
#include "engine/soft/runtime/soft_vm.hpp"
#include "engine/soft/translate/translator_helpers.hpp"

namespace bhyve::soft {

namespace {
constexpr usize max_bytes = 0x7fff;  // CodePlace::offset
}

BlockEmitter::BlockEmitter(Translator& translator)
    : t_(translator), c_(nullptr, nullptr), other_(nullptr, nullptr),
      bmi2_(__builtin_cpu_supports("bmi2") != 0), mask_(translator.cpu().vm().translation.mask) {
  const Cpu& cpu = t_.cpu();
  page_ = t_.offset(cpu.frame.page);
  key_ = t_.offset(cpu.frame.key);
  tlb_ = t_.offset(cpu.frame.tlb);
  poll_ = t_.offset(cpu.frame.poll);
  gates_ = t_.offset(cpu.frame.gates);
  rights_ = t_.offset(cpu.frame.rights);
  linear_ = t_.offset(cpu.frame.linear);
  stack_key_ = t_.offset(cpu.frame.stack_key);
  stack_addend_ = t_.offset(cpu.frame.stack_addend);
  slot_ = t_.offset(cpu.frame.slot);
  temporary_ = t_.offset(cpu.frame.temporary);
  zero_ = t_.offset(cpu.frame.zero);
  gpr_ = t_.offset(cpu.gpr);
  jumps_ = t_.offset(cpu.translated.jumps);
  flags_ = t_.offset(cpu.flags);
}

void BlockEmitter::begin(Block& block, bool plain) {
  CodeCache& cache = t_.cache();
  b_ = &block;
  c_ = HostCode(cache.begin(), cache.end() - 64);
  other_ = HostCode(cache.cold_begin(), cache.cold_end());
  start_ = static_cast<i64>(block.gpa & page_mask);
  code32_ = block.code_size == CodeSize::bits32;
  // Windows hold for addresses of 64 bits: sums of 32-bit ones wrap.
  plain_ = plain || code32_;
  places.clear();
  exits_.clear();
  kept_.clear();
  second_page_tag = nullptr;
  g_.clear();
  cold_.clear();
  open_ = 0;
  held_ = BlockWindows::none;
  in_host_ = false;
  in_memory_ = true;
  open_gates_ = 0;
}

/// Flags that are needed at a place in this page, all when it is unknown.
u8 BlockEmitter::live_at(i64 target) {
  if (target < 0 || target >= static_cast<i64>(page_size)) return flag::all;
  if (target == start_) return b_->live_in;
  Block* block = t_.find((b_->gpa & ~page_mask) + static_cast<u64>(target), b_->code_size);
  return block ? t_.live_in(*block) : flag::all;
}

void BlockEmitter::analyse() {
  g_.reserve(b_->count);
  const Insn* insns = t_.cpu().instructions_of(*b_, recalled_.data());
  for (unsigned n = 0; n < b_->count; ++n)
    g_.push_back(classify(insns[n], b_->raw() + insns[n].offset, code32_));
  u8 live = live_behind_ = live_at(start_ + b_->bytes);
  for (unsigned n = b_->count; n-- > 0;) {
    GuestInsn& g = g_[n];
    const bool goes = g.kind == Kind::call || g.kind == Kind::jump;
    if (goes || g.kind == Kind::jump_cond) g.live_at_target = live_at(target_of(g));
    if (goes) live = g.live_at_target;
    if (g.kind == Kind::jump_cond) live |= g.live_at_target;
    g.live_after = live;
    if (goes) continue;
    live = static_cast<u8>(g.reads | (live & ~g.writes));
  }
  if (!plain_) windows_.analyse(g_, !mask_);
}

void BlockEmitter::emit_callout(const GuestInsn& g) {
  clobber_flags(g.reads | (g.live_after & ~g.writes));
  load_insn(host::s0, *g.insn);
  c_.byte(0x68);  // push imm32
  c_.word(static_cast<u32>(start_) << 8);
  c_.call(writable(t_.thunks().callout));
  in_memory_ = true;
  in_host_ = false;
  open_gates_ = 0;
  held_ = BlockWindows::none;
}

void BlockEmitter::emit(const GuestInsn& g) {
  if (code32_ && uses_fs_gs(g)) need_right(g, g.insn->base_seg == 4 ? Right::fs : Right::gs);
  switch (g.kind) {
    case Kind::callout: emit_callout(g); break;
    case Kind::nothing: break;
    case Kind::copy: emit_copy(g); break;
    case Kind::copy_plain: emit_plain(g); break;
    case Kind::move_imm: emit_move_imm(g); break;
    case Kind::bswap: emit_bswap(g); break;
    case Kind::lea: emit_lea(g); break;
    case Kind::push:
      if (g.has_modrm)
        emit_push_memory(g);
      else
        emit_push(g);
      break;
    case Kind::push_imm: emit_push(g); break;
    case Kind::pop: emit_pop(g); break;
    case Kind::leave: emit_leave(g); break;
    case Kind::ret: emit_ret(g); break;
    case Kind::call: emit_call(g); break;
    case Kind::jump: {
      const i64 target = target_of(g);
      emit_exit(target, target <= offset_of(g), g.live_at_target);
      break;
    }
    case Kind::jump_cond: emit_jump_cond(g); break;
    case Kind::jump_indirect: emit_jump_indirect(g); break;
    case Kind::call_indirect: emit_call_indirect(g); break;
    case Kind::cli: emit_cli(g); break;
    case Kind::sti: emit_sti(g); break;
    case Kind::stac: emit_stac(g); break;
    case Kind::swapgs: emit_swapgs(g); break;
    case Kind::rdtsc:
    case Kind::rdtscp: emit_rdtsc(g); break;
    case Kind::pushf: emit_pushf(g); break;
  }
}

bool BlockEmitter::uses_fs_gs(const GuestInsn& g) {
  const bool accesses = g.memory() && g.kind != Kind::callout && g.kind != Kind::nothing && g.kind != Kind::lea;
  return accesses && (g.insn->base_seg == 4 || g.insn->base_seg == 5);
}

void BlockEmitter::close_cold() {
  for (; open_ < cold_.size(); ++open_) {
    Cold& cold = cold_[open_];
    if (cold.kind != Cold::Kind::missed && cold.kind != Cold::Kind::callout) continue;
    cold.back = c_.at();
    cold.restore = in_host_ && (cold.g->live_after || !in_memory_);
  }
}

bool BlockEmitter::run(Block& block, bool plain) {
  begin(block, plain);
  analyse();
  if (b_->crosses()) check_second_page();
  for (const GuestInsn& g : g_) {
    if (g.insn->fn == no_stub_room) return false;
    places.push_back({static_cast<u16>(c_.size() & max_bytes), in_host_ && !in_memory_});
    emit(g);
    close_cold();
    if (c_.overflowed()) return false;
  }
  places.push_back({static_cast<u16>(c_.size() & max_bytes), false});
  const Kind last = g_.back().kind;
  const bool leaves = last == Kind::ret || last == Kind::call || last == Kind::jump ||
                      last == Kind::jump_indirect || last == Kind::call_indirect;
  if (!leaves) {
    const i64 next = start_ + b_->bytes;
    emit_exit(next, false, live_behind_);
  }
  while (c_.size() < 32) c_.byte(0x90);  // room for a jump when it is thrown away
  std::swap(c_, other_);
  emit_cold();
  std::swap(c_, other_);
  return !full() && c_.size() <= max_bytes && exits_.size() <= TranslationRecords::most_exits;
}

/// Eight bytes that the rel32 at `reference` reads.
u8* BlockEmitter::place_tag(u8* reference) {
  HostCode::patch(reference, c_.at());
  u8* tag = c_.at();
  c_.quad(0);
  return tag;
}

void BlockEmitter::emit_cold() {
  for (usize n = 0; n < cold_.size(); ++n) emit_cold(cold_[n]);
  place_insns();
  for (Exit& e : exits_)
    if (e.tag) e.tag = place_tag(e.tag);
  if (second_page_tag) second_page_tag = place_tag(second_page_tag);
}

void BlockEmitter::load_insn(u8 reg, const Insn& insn) {
  // lea reg, [rip + ...]
  c_.byte(reg < 8 ? 0x48 : 0x4c), c_.byte(0x8d), c_.byte((reg & 7u) << 3 | 5u);
  kept_.push_back({c_.at(), &insn});
  c_.word(0);
}

/// Aligned: the cold code begins so.
void BlockEmitter::place_insns() {
  while (!kept_.empty() && c_.size() % alignof(Insn)) c_.byte(0xcc);
  for (usize n = 0; n < kept_.size(); ++n) {
    const Insn* insn = kept_[n].insn;
    if (!insn) continue;
    for (usize k = n; k < kept_.size(); ++k) {
      if (kept_[k].insn != insn) continue;
      HostCode::patch(kept_[k].reference, c_.at());
      kept_[k].insn = nullptr;
    }
    c_.bytes(reinterpret_cast<const u8*>(insn), sizeof *insn);
  }
}

std::vector<CodeExit> BlockEmitter::exits() const {
  std::vector<CodeExit> out;
  const CodeCache& cache = t_.cache();
  const u8 *hot = cache.begin(), *cold = cache.cold_begin();
  for (const Exit& e : exits_) {
    const bool in_cold = e.jump >= cold && e.jump < cold + cold_bytes();
    const auto from = [](const u8* base, const u8* at) { return static_cast<u16>(at - base); };
    out.push_back({from(in_cold ? cold : hot, e.jump), from(cold, e.unlinked),
                   e.tag ? from(cold, e.tag) : u16{0}, static_cast<u16>(e.page_offset & page_mask), in_cold,
                   e.plain, 0});
  }
  return out;
}

void BlockEmitter::emit_cold_call(const Cold& cold, const u8* thunk, u32 pushed) {
  c_.byte(0x68);
  c_.word(pushed);
  c_.call(writable(thunk));
  if (cold.retry) c_.jump(cold.retry);
  if (!cold.back) return;
  if (cold.restore) restore_flags();
  c_.jump(cold.back);
}

void BlockEmitter::emit_unlinked(u32 exit) {
  exits_[exit].unlinked = c_.at();
  c_.move_imm(host::s0, TranslationRecords::exit_number(t_.next_number(), exit));
  jump_thunk(t_.thunks().exit_unlinked);
}

void BlockEmitter::emit_cold(Cold& cold) {
  const Translator::Thunks& thunks = t_.thunks();
  const u32 block = static_cast<u32>(start_) << 8;
  c_.here(cold.from);
  switch (cold.kind) {
    case Cold::Kind::missed:
      c_.rm(0x2b, host::s0, {host::s1, cold.write ? 8 : 0});
      emit_cold_call(cold, cold.write ? thunks.write_missed : thunks.read_missed,
                     MissedAccess::pack(t_.next_number(), number(*cold.g), cold.size));
      break;
    case Cold::Kind::jump_missed:
      c_.rm(0x33, host::s0, state(key_));  // its page again
      c_.store(state(linear_), host::s0);
      c_.store(state(temporary_), host::s1);
      load_insn(host::s1, *cold.g->insn);
      emit_cold_call(cold, thunks.jump_missed, block);
      break;
    case Cold::Kind::stack_missed:
      c_.rm(0x2b, host::s0, state(stack_key_));
      c_.call(writable(thunks.stack_missed));
      c_.alu_imm(op::cmp, host::s0, cold.room);
      c_.jump_if(cc::be, cold.back);
      [[fallthrough]];
    case Cold::Kind::plain: {
      Exit& e = exits_[cold.exit];
      e.jump = c_.jump();
      c_.here(e.jump);
      emit_unlinked(cold.exit);
      break;
    }
    case Cold::Kind::callout:
      load_insn(host::s0, *cold.g->insn);
      emit_cold_call(cold, cold.g->gate ? thunks.callout_live : thunks.callout, block);
      break;
    case Cold::Kind::exit_flags:
      save_flags();
      [[fallthrough]];
    case Cold::Kind::exit: {
      Exit& e = exits_[cold.exit];
      if (!cold.back) {
        emit_link(cold.target, cold.exit);
        if (e.tag) {
          u8* missed = c_.jump_if(cc::ne);
          e.jump = c_.jump();
          c_.here(missed);
          c_.here(e.jump);
        } else if (!e.jump) {
          e.jump = c_.jump();
          c_.here(e.jump);
        }
      }
      emit_unlinked(cold.exit);
      break;
    }
    case Cold::Kind::poll:
      c_.move_imm(host::s0, TranslationRecords::exit_number(t_.next_number(), cold.exit));
      jump_thunk(thunks.exit_poll);
      break;
    case Cold::Kind::poll_here:
      c_.move_imm(host::s0, static_cast<u64>(offset_of(*cold.g)));
      jump_thunk(thunks.exit_here);
      break;
  }
}

}  // namespace bhyve::soft
