#include "engine/soft/translate/translator.hpp"

#include <algorithm>
#include <array>
#include <chrono>

#include <fmt/format.h>

#include "engine/soft/cpu.hpp"
#include "engine/soft/replay/replay.hpp"
#include "engine/soft/runtime/block_cache.hpp"
#include "engine/soft/runtime/soft_vm.hpp"
#include "engine/soft/translate/block_emitter.hpp"
#include "engine/soft/translate/executor_check.hpp"
#include "engine/soft/translate/translator_helpers.hpp"

namespace bhyve::soft {

Translator::Translator(Cpu& cpu, CodePool* pool) : cpu_(cpu), cache_(pool) {
  if (!usable()) return;
  emit_thunks();
  translations_.resize(cache_.regions());
  emitter_ = std::make_unique<BlockEmitter>(*this);
}

Translator::~Translator() = default;

Step Translator::run() {
  using Enter = u32 (*)(Cpu*, const u8*);
  const TranslatedState& t = cpu_.translated;
  const u64& page = cpu_.frame.page = cpu_.rip & ~page_mask;
  pending_ = no_exit;
  cpu_.current_ = nullptr;
  ++counters.entries;
  if (cpu_.vm().translation.mask) cpu_.fpu.unpark();  // TranslatorHelpers::Live says why
  const u32 code = reinterpret_cast<Enter>(reinterpret_cast<u64>(thunks_.enter))(
      &cpu_, entry_);
  left_within_ = false;
  switch (static_cast<LeaveCode>(code)) {
    case LeaveCode::unlinked:
    case LeaveCode::poll:
      if (code == static_cast<u32>(LeaveCode::unlinked)) {
        pending_ = t.exit;
        left_within_ = exits_[t.exit].plain;
        ++counters.unlinked;
      } else {
        ++counters.polls;
      }
      cpu_.rip = pending_rip_ = page + exits_[t.exit].page_offset;
      cpu_.current_ = nullptr;
      return Step::branch;
    case LeaveCode::jumped: {
      ++counters.jumps;
      const u64 index = cpu_.frame.temporary[0] / 2;
      cpu_.rip = page | ((index ^ page >> page_shift) & page_mask);
      return Step::branch;
    }
    case LeaveCode::here:
      ++counters.heres;
      left_within_ = true;
      cpu_.rip = page + t.exit;
      cpu_.current_ = nullptr;
      return Step::branch;
    case LeaveCode::trap: ++counters.traps; return leave_trap();
    default:
      ++counters.steps[code % counters.steps.size()];
      return static_cast<Step>(code);
  }
}

/// A translated instruction trapped: it has not been executed.
Step Translator::leave_trap() {
  const TranslatedState& t = cpu_.translated;
  Translation* in = containing(t.trap_pc);
  if (!in) __builtin_trap();  // our own bug: thunks do not trap
  const auto offset = static_cast<u32>(t.trap_pc - reinterpret_cast<u64>(in->code));
  unsigned n = 0;
  while (n + 1 < in->block->count && in->places[n + 1].offset <= offset) ++n;
  if (in->places[n].flags_live) cpu_.flags = static_cast<PackedFlags>(t.trap_flags);
  cpu_.gpr[17] = cpu_.frame.page + (in->block->gpa & page_mask);
  const Insn& insn = *(cpu_.current_ = &in->block->insns[n]);
  if (cpu_.check_ && !cpu_.check_->trap(insn)) return Step::exit;
  constexpr u32 general_protection = 13;
  if (t.trap_number != general_protection || is_replay(insn)) return replay_trapped(cpu_, t.trap_number);
  // A stack pointer that is no address, by the frame's empty stack page: #SS, which the handler raises.
  const Step st = insn.fn(cpu_, insn);
  if (st != Step::next) return st;
  cpu_.rip = cpu_.next_rip(insn);
  cpu_.current_ = nullptr;
  return Step::branch;
}

Translator::Translation* Translator::containing(u64 pc) {
  const usize region = cache_.region_of(reinterpret_cast<const u8*>(pc));
  if (region >= translations_.size()) return nullptr;
  auto& there = translations_[region];
  auto it = std::upper_bound(
      there.begin(), there.end(), pc,
      [](u64 at, const Translation& t) { return at < reinterpret_cast<u64>(t.code); });
  if (it == there.begin()) return nullptr;
  --it;
  return pc < reinterpret_cast<u64>(it->code) + it->bytes ? &*it : nullptr;
}

Block* Translator::find(u64 gpa, CodeSize size) {
  Block* block = cpu_.blocks_->find(Gpa(gpa), size);
  return block && !block->crosses() ? block : nullptr;
}

u32 Translator::hot_after(const Block& block) const {
  // A translation costs about as much as this many more executions by the interpreter.
  constexpr u32 patience = 8;
  const u32 after = cpu_.vm().translation.after;
  return rewritten_[block.gpa >> page_shift & (rewritten_.size() - 1)] ? after * patience : after;
}

/// 32-bit code is translated for flat segments, and may run when they are.
bool Translator::translatable(const Block& block) const {
  return block.code_size == CodeSize::bits64 || (block.code_size == CodeSize::bits32 && cpu_.flat32());
}

bool Translator::arrived(Block& block) {
  const bool expected = pending_ != no_exit && pending_rip_ == cpu_.rip;
  const bool plain = expected && exits_[pending_].plain;
  Translation*& slot = plain ? block.plain : block.translation;
  if (!slot) {
    if (++block.heat < hot_after(block) || !block.armed || !translatable(block) ||
        !translate(block, plain))
      return false;
  } else if (!translatable(block)) {
    return false;
  }
  Translation& t = *slot;
  entry_ = t.code;
  entered_ = &t;
  if (expected && pending_ != no_exit && !cpu_.check_) {
    const Exit& e = exits_[pending_];
    const bool same_page = (e.from->block->gpa ^ block.gpa) >> page_shift == 0;
    if (e.tag || (same_page && !e.to)) {
      cpu_.fpu.park();
      unlink(pending_);
      link(pending_, t);
    }
  }
  pending_ = no_exit;
  const u64 page = cpu_.rip & ~page_mask, key = cpu_.frame.key;
  if (block.crosses()) {  // find_block() looked at the second page, for the plain translation too
    const u64 second = (page + page_size) ^ key;
    for (const Translation* each : {block.translation, block.plain})
      if (each) __builtin_memcpy(each->second_page_tag, &second, 8);
  }
  if (!plain && !cpu_.check_) note_target(cpu_.rip, t.code);
  return true;
}

const u8* Translator::enter(Block& block) {
  pending_ = no_exit;
  if (!arrived(block)) return nullptr;
  cpu_.frame.page = cpu_.rip & ~page_mask;
  return entry_;
}

/// Indirect jumps find the translation of the block at `rip`.
void Translator::note_target(u64 rip, const u8* code) {
  cpu_.translated.jumps[TranslatedState::jump_index(rip)] = {(rip & ~page_mask) ^ cpu_.frame.key, code};
}

namespace {

/// Adds the time of its life.
class Stopwatch final {
 public:
  explicit Stopwatch(u64& nanoseconds) : nanoseconds_(nanoseconds) {}
  ~Stopwatch() {
    const auto passed = std::chrono::steady_clock::now() - began_;
    nanoseconds_ += static_cast<u64>(std::chrono::nanoseconds(passed).count());
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  u64& nanoseconds_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

}  // namespace

bool Translator::translate(Block& block, bool plain) {
  cpu_.fpu.park();
  const Stopwatch watch(counters.nanoseconds);
  (void)live_in(block);
  if (!cache_.has_room()) {
    evict();
    if (!cache_.has_room()) return false;
  }
  BlockEmitter& emitter = *emitter_;
  if (!emitter.run(block, plain)) {
    free_exits_.insert(free_exits_.end(), emitter.exits.begin(), emitter.exits.end());
    evict();
    return false;
  }
  Translation& t = translations_[cache_.region()].emplace_back();
  t.block = &block;
  t.plain = plain;
  t.code = cache_.executable(cache_.begin());
  t.bytes = static_cast<u32>(emitter.bytes());
  t.places = emitter.places;
  t.outgoing = emitter.exits;
  for (const u32 n : t.outgoing) {
    exits_[n].from = &t;
    exits_[n].unlinked = cache_.executable(exits_[n].unlinked);
  }
  cache_.commit(emitter.bytes(), emitter.cold_bytes());
  by_page_[block.gpa >> page_shift].push_back(&t);
  if (block.crosses()) {
    by_page_[block.gpa2 >> page_shift].push_back(&t);
    t.second_page_tag = emitter.second_page_tag;
  }
  (plain ? block.plain : block.translation) = &t;
  if (PerfMap* map = cpu_.vm().perf_map.get()) map->add(t.code, t.bytes, fmt::format("guest_{:x}", cpu_.rip));
  ++counters.blocks;
  counters.insns += block.count;
  counters.bytes += t.bytes + emitter.cold_bytes();
  counters.cache_used = cache_.in_use();
  return true;
}

u32 Translator::new_exit(const Exit& exit) {
  if (free_exits_.empty()) {
    exits_.push_back(exit);
    return static_cast<u32>(exits_.size() - 1);
  }
  const u32 n = free_exits_.back();
  free_exits_.pop_back();
  exits_[n] = exit;
  return n;
}

void Translator::link(u32 n, Translation& to) {
  Exit& e = exits_[n];
  e.to = &to;
  to.incoming.push_back(n);
  HostCode::patch(e.jump, cache_.writable(to.code));
  if (e.tag) {
    const u64 tag = (cpu_.rip & ~page_mask) ^ cpu_.frame.key;
    __builtin_memcpy(e.tag, &tag, 8);
  }
  ++counters.links;
}

void Translator::unlink(u32 n) {
  Exit& e = exits_[n];
  if (!e.to) return;
  std::erase(e.to->incoming, n);
  e.to = nullptr;
  HostCode::patch(e.jump, cache_.writable(e.unlinked));
}

void Translator::detach(Translation& t) {
  while (!t.incoming.empty()) unlink(t.incoming.back());
  for (const u32 n : t.outgoing) unlink(n);
  if (pending_ != no_exit && exits_[pending_].from == &t) pending_ = no_exit;
  if (current(t)) (t.plain ? t.block->plain : t.block->translation) = nullptr;
}

/// Entries of TranslatedState::jumps find a way out in its place.
void Translator::kill(Translation& t) {
  detach(t);
  u8* code = cache_.writable(t.code);
  HostCode c(code, code + t.bytes + 96);
  c.move_imm(host::s0, t.block->gpa & page_mask);
  c.jump(cache_.writable(thunks_.exit_here));
  ++counters.killed;
}

/// No translated code runs nor is returned to: whoever translates has left it, or goes on in what is found.
void Translator::evict() {
  share_cache();
  const usize region = cache_.choose_next();
  clear(region);
  cache_.enter(region);
  counters.cache_used = cache_.in_use();
}

void Translator::clear(usize region) {
  auto& there = translations_[region];
  if (there.empty()) return;
  for (Translation& t : there) {
    detach(t);
    free_exits_.insert(free_exits_.end(), t.outgoing.begin(), t.outgoing.end());
    forget_on_page(t, t.block->gpa >> page_shift);
    if (t.block->crosses()) forget_on_page(t, t.block->gpa2 >> page_shift);
  }
  counters.evicted += there.size();
  for (TranslatedState::Jump& jump : cpu_.translated.jumps)
    if (jump.code && cache_.region_of(jump.code) == region) jump = {};
  there.clear();
}

void Translator::give_back() {
  const usize keep = cache_.keeping();
  for (usize region = keep; region < cache_.held(); ++region) clear(region);
  if (cache_.region() >= keep) {
    clear(0);
    cache_.enter(0);
  }
  cache_.shrink(keep);
  counters.cache_used = cache_.in_use();
}

void Translator::forget_on_page(const Translation& t, u64 page) {
  const auto it = by_page_.find(page);
  if (it == by_page_.end()) return;
  std::erase(it->second, &t);
  if (it->second.empty()) by_page_.erase(it);
}

/// False: it was killed.
bool Translator::current(const Translation& t) {
  return (t.plain ? t.block->plain : t.block->translation) == &t;
}

void Translator::page_written(u64 page) {
  const auto it = by_page_.find(page);
  if (it == by_page_.end()) return;
  for (Translation* t : it->second)
    if (current(*t)) kill(*t);
  const usize mark = page & (rewritten_.size() - 1);
  if (!rewritten_[mark] && rewritten_.count() > rewritten_.size() / 4) rewritten_.reset();
  rewritten_.set(mark);
  by_page_.erase(it);
}

void Translator::reset() {
  for (auto& region : translations_) {
    for (Translation& t : region)
      if (current(t)) (t.plain ? t.block->plain : t.block->translation) = nullptr;
    region.clear();
  }
  exits_.clear();
  free_exits_.clear();
  by_page_.clear();
  pending_ = no_exit;
  cpu_.translated.jumps.fill({});
  if (usable()) cache_.reset();
  counters.cache_used = cache_.in_use();
  ++counters.resets;
}

// ---- which flags are needed where ---------------------------------------------------------------

u8 Translator::live_in(Block& block) { return live_through(block, 4); }

u8 Translator::live_at(Block& from, i64 target, unsigned depth) {
  if (target < 0 || target >= static_cast<i64>(page_size)) return flag::all;
  Block* block = find((from.gpa & ~page_mask) + static_cast<u64>(target), from.code_size);
  return block ? live_through(*block, depth) : flag::all;
}

void Translator::live_before(Block& block, const std::vector<GuestInsn>& insns, LiveFlags& live) {
  (void)live_in(block);
  const i64 end = static_cast<i64>(block.gpa & page_mask) + block.bytes;
  usize n = insns.size();
  live[n] = live_at(block, end, 4);
  while (n-- > 0) {
    const GuestInsn& g = insns[n];
    if (g.kind == Kind::call || g.kind == Kind::jump) {
      live[n] = live_at(block, g);
      continue;
    }
    u8 after = live[n + 1];
    if (g.kind == Kind::jump_cond) after |= live_at(block, g);
    live[n] = static_cast<u8>(g.reads | (after & ~g.writes));
  }
}

u8 Translator::live_at(Block& block, const GuestInsn& branch) {
  const i64 start = static_cast<i64>(block.gpa & page_mask);
  const Insn& i = *branch.insn;
  return live_at(block, start + i.offset + i.length + static_cast<i64>(i.imm), 4);
}

namespace {
struct FlagUse {
  bool goes, may_go;  ///< to `target`: always, or perhaps
  bool to_start;      ///< of the same block
  u8 reads, writes;
  u8 at_target;       ///< flags that are needed there
};
}  // namespace

/// Backwards through the block. A loop to its own start begins with no flag needed and adds until
/// nothing changes; a loop through other blocks needs all.
u8 Translator::live_through(Block& block, unsigned depth) {
  using Liveness = Block::Liveness;
  if (block.liveness == Liveness::known) return block.live_in;
  if (block.liveness == Liveness::in_progress || depth == 0) return flag::all;
  block.liveness = Liveness::in_progress;
  block.live_in = flag::none;
  const i64 start = static_cast<i64>(block.gpa & page_mask);
  std::array<FlagUse, Block::max_insns> uses;
  for (unsigned n = 0; n < block.count; ++n) {
    const Insn& i = block.insns[n];
    const GuestInsn g = classify(i, block.raw() + i.offset, block.code_size == CodeSize::bits32);
    FlagUse& use = uses[n] = {};
    use.reads = g.reads, use.writes = g.writes;
    use.goes = g.kind == Kind::call || g.kind == Kind::jump;
    use.may_go = g.kind == Kind::jump_cond;
    if (!use.goes && !use.may_go) continue;
    const i64 target = start + i.offset + i.length + static_cast<i64>(i.imm);
    use.to_start = target == start;
    use.at_target = use.to_start ? flag::none : live_at(block, target, depth - 1);
  }
  const u8 behind = live_at(block, start + block.bytes, depth - 1);
  for (;;) {
    u8 live = behind;
    for (unsigned n = block.count; n-- > 0;) {
      const FlagUse& use = uses[n];
      const u8 at_target = use.to_start ? block.live_in : use.at_target;
      if (use.goes) {
        live = at_target;
        continue;
      }
      if (use.may_go) live |= at_target;
      live = static_cast<u8>(use.reads | (live & ~use.writes));
    }
    if (live == block.live_in) break;
    block.live_in |= live;
  }
  block.liveness = Liveness::known;
  return block.live_in;
}

}  // namespace bhyve::soft
