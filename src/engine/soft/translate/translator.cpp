#include "engine/soft/translate/translator.hpp"

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

Translator::Translator(Cpu& cpu, CodePool* pool)
    : cpu_(cpu),
      cache_(pool, pool ? TranslationRecords::bytes_of(pool->region_bytes()) : 0),
      records_(usable() ? pool->regions() : 0, usable() ? pool->region_bytes() : 0) {
  if (!usable()) return;
  emit_thunks();
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
        left_within_ = records_.exit(t.exit).plain;
        ++counters.unlinked;
      } else {
        ++counters.polls;
      }
      cpu_.rip = pending_rip_ = page + records_.exit(t.exit).page_offset;
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
  const auto offset = static_cast<u32>(t.trap_pc - reinterpret_cast<u64>(code_of(*in)));
  unsigned n = 0;
  while (n + 1 < in->block->count && records_.place(*in, n + 1).offset <= offset) ++n;
  if (records_.place(*in, n).flags_live) cpu_.flags = static_cast<PackedFlags>(t.trap_flags);
  cpu_.gpr[17] = cpu_.frame.page + (in->block->gpa & page_mask);
  const Insn& insn = *(cpu_.current_ = &cpu_.recall(*in->block, n));
  if (insn.fn == no_stub_room) return cpu_.begin_again(insn);
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

Translation* Translator::containing(u64 pc) {
  const usize region = cache_.region_of(reinterpret_cast<const u8*>(pc));
  if (region >= cache_.held()) return nullptr;
  const u32 place = cache_.offset(reinterpret_cast<const u8*>(pc));
  u32 first = records_.first(region), end = records_.next(region);
  while (first < end) {  // in the order of their code
    const u32 middle = first + (end - first) / 2;
    Translation& t = records_.at(middle);
    if (place < t.code)
      end = middle;
    else if (place >= t.code + t.bytes)
      first = middle + 1;
    else
      return t.block ? &t : nullptr;
  }
  return nullptr;
}

Block* Translator::find(u64 gpa, CodeSize size) {
  Block* block = cpu_.blocks_->find(Gpa(gpa), size);
  return block && !block->crosses() ? block : nullptr;
}

u32 Translator::hot_after(const Block& block) const {
  // A translation costs about as much as this many more executions by the interpreter.
  constexpr u32 patience = 8;
  const u32 after = cpu_.vm().translation.after;
  const u32 least = rewritten_[block.gpa >> page_shift & (rewritten_.size() - 1)] ? after * patience : after;
  return least < Block::hottest ? least : u32{Block::hottest};
}

/// 32-bit code is translated for flat segments, and may run when they are.
bool Translator::translatable(const Block& block) const {
  return block.code_size == CodeSize::bits64 || (block.code_size == CodeSize::bits32 && cpu_.flat32());
}

bool Translator::arrived(Block& block) {
  const bool expected = pending_ != no_exit && pending_rip_ == cpu_.rip;
  const bool plain = expected && records_.exit(pending_).plain;
  Translation*& slot = plain ? block.plain : block.translation;
  if (!slot) {
    if (block.heat < Block::hottest) ++block.heat;
    if (block.heat < hot_after(block) || !block.armed || !translatable(block) ||
        !translate(block, plain))
      return false;
  } else if (!translatable(block)) {
    return false;
  }
  Translation& t = *slot;
  entry_ = code_of(t);
  entered_ = &t;
  if (expected && pending_ != no_exit && !cpu_.check_) {
    const CodeExit& e = records_.exit(pending_);
    const bool same_page = (records_.from(pending_).block->gpa ^ block.gpa) >> page_shift == 0;
    if (e.tag || (same_page && !e.link)) {
      cpu_.fpu.park();
      unlink(pending_);
      link(pending_, t);
    }
  }
  pending_ = no_exit;
  const u64 page = cpu_.rip & ~page_mask, key = cpu_.frame.key;
  if (block.crosses()) {  // find_block() looked at the second page, for the plain translation too
    const u64 second = (page + page_size) ^ key;
    if (const auto* crossings = records_.on_second_page(block.second().gpa >> page_shift))
      for (const auto& each : *crossings)
        if (records_.at(each.translation).block == &block)
          __builtin_memcpy(cache_.change(each.tag, sizeof second), &second, sizeof second);
  }
  if (!plain && !cpu_.check_) note_target(cpu_.rip, entry_);
  return true;
}

const u8* Translator::enter_known() {
  const TranslatedState::Jump& known = cpu_.translated.jumps[TranslatedState::jump_index(cpu_.rip)];
  const u64 page = cpu_.rip & ~page_mask;
  if (!cpu_.code64() || known.tag != (page ^ cpu_.frame.key)) return nullptr;
  pending_ = no_exit;
  cpu_.current_ = nullptr;
  cpu_.frame.page = page;
  return known.code;
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
  if (!has_room()) {
    evict();
    if (!has_room()) return false;
  }
  BlockEmitter& emitter = *emitter_;
  if (!emitter.run(block, plain)) {
    if (emitter.full()) evict();
    return false;
  }
  Translation& t = records_.add(cache_.region(), emitter.exits(), emitter.places);
  t.block = &block;
  t.plain = plain;
  t.code = cache_.offset(cache_.executable(cache_.begin()));
  t.cold = cache_.offset(cache_.executable(cache_.cold_begin()));
  t.bytes = static_cast<u16>(emitter.bytes());
  cache_.commit(emitter.bytes(), emitter.cold_bytes());
  records_.note_on_page(t, block.gpa >> page_shift);
  if (block.crosses())
    records_.note_on_second_page(
        {records_.number_of(t), cache_.offset(cache_.executable(emitter.second_page_tag))},
        block.second().gpa >> page_shift);
  (plain ? block.plain : block.translation) = &t;
  cpu_.blocks_->translated(block);
  if (PerfMap* map = cpu_.vm().perf_map.get()) map->add(code_of(t), t.bytes, fmt::format("guest_{:x}", cpu_.rip));
  ++counters.blocks;
  counters.insns += block.count;
  counters.bytes += t.bytes + emitter.cold_bytes();
  counters.cache_used = cache_.in_use();
  return true;
}

void Translator::lead(u32 n, const u8* to) {
  const Translation& from = records_.from(n);
  const CodeExit& e = records_.exit(n);
  HostCode::patch(cache_.change((e.in_cold ? from.cold : from.code) + e.jump, 4), cache_.writable(to));
}

void Translator::link(u32 n, Translation& to) {
  records_.link(n, to);
  lead(n, code_of(to));
  if (const u16 at = records_.exit(n).tag) {
    const u64 tag = (cpu_.rip & ~page_mask) ^ cpu_.frame.key;
    __builtin_memcpy(cache_.change(records_.from(n).cold + at, sizeof tag), &tag, sizeof tag);
  }
  ++counters.links;
}

void Translator::unlink(u32 n) {
  if (!records_.exit(n).link) return;
  records_.unlink(n);
  lead(n, cache_.at(records_.from(n).cold + records_.exit(n).unlinked));
}

void Translator::detach(Translation& t) {
  while (t.incoming) unlink(records_.link_of(t.incoming).exit);
  const u32 number = records_.number_of(t);
  for (unsigned n = 0; n < t.exits; ++n) unlink(TranslationRecords::exit_number(number, n));
  if (pending_ != no_exit && &records_.from(pending_) == &t) pending_ = no_exit;
  Block& block = *t.block;
  (t.plain ? block.plain : block.translation) = nullptr;
  if (block.crosses()) records_.forget_on_second_page(t, block.second().gpa >> page_shift);
}

/// Entries of TranslatedState::jumps find a way out in its place. It is in no page's list.
void Translator::kill(Translation& t) {
  detach(t);
  Block& block = *t.block;
  t.block = nullptr;
  constexpr usize stub_bytes = 32;
  u8* code = cache_.change(t.code, stub_bytes);
  HostCode c(code, code + t.bytes + 96);
  c.move_imm(host::s0, block.gpa & page_mask);
  c.jump(cache_.writable(thunks_.exit_here));
  cpu_.blocks_->retired(block);
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
  const u32 first = records_.first(region), end = records_.next(region);
  if (first == end) return;
  for (u32 n = first; n < end; ++n) {
    Translation& t = records_.at(n);
    if (!t.block) continue;
    detach(t);
    records_.forget_region_on_page(t, t.block->gpa >> page_shift);
    cpu_.blocks_->retired(*t.block);
  }
  counters.evicted += end - first;
  for (TranslatedState::Jump& jump : cpu_.translated.jumps)
    if (jump.code && cache_.region_of(jump.code) == region) jump = {};
  records_.forget(region);
}

void Translator::give_back() {
  const usize keep = cache_.keeping();
  for (usize region = keep; region < cache_.held(); ++region) {
    clear(region);
    records_.release(region);
  }
  if (cache_.region() >= keep) {
    clear(0);
    cache_.enter(0);
  }
  cache_.shrink(keep);
  counters.cache_used = cache_.in_use();
}

void Translator::page_written(u64 page) {
  u32 n = records_.take_page(page);
  const auto crossings = records_.take_second_page(page);
  if (n == TranslationRecords::none && crossings.empty()) return;
  for (const auto& each : crossings) {
    Translation& t = records_.at(each.translation);
    const u64 first = t.block->gpa >> page_shift;
    if (first != page) records_.forget_on_page(t, first);
    if (first != page) kill(t);
  }
  while (n != TranslationRecords::none) {
    Translation& t = records_.at(n);
    n = t.next_on_page;
    kill(t);
  }
  const usize mark = page & (rewritten_.size() - 1);
  if (!rewritten_[mark] && rewritten_.count() > rewritten_.size() / 4) rewritten_.reset();
  rewritten_.set(mark);
}

void Translator::reset() {
  for (usize region = 0; usable() && region < cache_.regions(); ++region) {
    for (u32 n = records_.first(region); n < records_.next(region); ++n) {
      Translation& t = records_.at(n);
      if (!t.block) continue;
      (t.plain ? t.block->plain : t.block->translation) = nullptr;
      cpu_.blocks_->retired(*t.block);
    }
    records_.forget(region);
    records_.release(region);
  }
  records_.forget_links_and_pages();
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
  Insn buffer[Block::max_insns];
  const Insn* insns = cpu_.instructions_of(block, buffer);
  for (unsigned n = 0; n < block.count; ++n) {
    const Insn& i = insns[n];
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
