#include "engine/soft/translate/executor_check.hpp"

#include <algorithm>

#include "engine/soft/cpu.hpp"
#include "engine/soft/runtime/soft_vm.hpp"

namespace bhyve::soft {

ExecutorCheck::ExecutorCheck(Cpu& cpu) : cpu_(cpu) { insns_.reserve(Block::max_insns); }

/// Executed once, by its handler: what has none but that, reads a clock, or changes more than registers,
/// flags and memory.
bool ExecutorCheck::by_handler(const GuestInsn& g) {
  switch (g.kind) {
    case Kind::callout:
    case Kind::cli:
    case Kind::sti:
    case Kind::stac:
    case Kind::swapgs:
    case Kind::rdtsc:
    case Kind::rdtscp: return true;
    default: return false;
  }
}

Step ExecutorCheck::run(Block& block) {
  cpu_.fpu.park();  // vectors of C++ may use any register
  Translator& translator = cpu_.translator_;
  block_ = &block;
  start_rip_ = cpu_.rip;
  const Translation* t = translator.entered();
  code_ = translator.code_of(*t);
  code_bytes_ = t->bytes;
  copy_insns(block);
  insns_.clear();
  for (unsigned n = 0; n < block.count; ++n)
    insns_.push_back(classify(copies_[n], block.raw() + copies_[n].offset, block.code_size == CodeSize::bits32));
  translator.live_before(block, insns_, live_);
  ++blocks;
  begin(0);
  const Step st = translator.run();
  if (!open_) return st;
  unsigned end = 0;
  const bool left = !translator.left_within();
  if (!left)
    while (end < block.count && cpu_.rip_of(copies_[end]) != cpu_.rip) ++end;
  return finish(end, left) ? st : cpu_.leave_with(abi::ExitCode::vmx);
}

/// Then one that ends the block.
void ExecutorCheck::copy_insns(const Block& block) {
  const Insn* insns = cpu_.instructions_of(block, copies_.data());
  if (insns != copies_.data()) std::copy(insns, insns + block.count, copies_.begin());
  copies_[block.count] = BlockCache::closing(block);
}

/// Translated code has its own copies.
unsigned ExecutorCheck::number_of(const Insn& insn) const {
  unsigned n = 0;
  while (n < block_->count && copies_[n].offset != insn.offset) ++n;
  return n;
}

bool ExecutorCheck::turn_is_over() {
  // Some milliseconds: on a busy host the next one's thread takes as long to wake up.
  constexpr u32 turn = 8192;
  ++blocks_of_turn_;
  if ((blocks_of_turn_ < turn && !spins_) || !cpu_.vm().turns.wanted()) return false;
  blocks_of_turn_ = 0;
  spins_ = false;
  return true;
}

bool ExecutorCheck::arrive(const Insn& insn) {
  const u8* bytes = block_->raw() + insn.offset;
  if (insn.length == 2 && bytes[0] == 0xf3 && bytes[1] == 0x90) spins_ = true;  // PAUSE
  if (!open_ || finish(number_of(insn), false)) return true;
  cpu_.leave_with(abi::ExitCode::vmx);
  return false;
}

bool ExecutorCheck::trap(const Insn& insn) {
  const auto n = number_of(insn);
  if (open_ && (way_.left || way_.end != n || way_.stopped != Step::fault)) {
    open_ = false;
    save(found_);
    journal_.capture(&StoreJournal::Place::found);
    report("translated code trapped on the host, the interpreter's instruction did not fault", n, false);
    cpu_.leave_with(abi::ExitCode::vmx);
    return false;
  }
  return arrive(insn);
}

void ExecutorCheck::go_on_behind(const Insn& insn) {
  begin(number_of(insn) + 1);
}

// ---- one segment ----------------------------------------------------------------------------------

void ExecutorCheck::begin(unsigned first) {
  first_ = first;
  vectors_ = false;
  for (unsigned n = first; n < insns_.size() && !by_handler(insns_[n]); ++n)
    vectors_ |= insns_[n].gate != 0;
  ++segments;
  journal_.clear();
  save(begun_);
  way_ = interpret(block_->count + 1u);
  save(wanted_);
  journal_.capture(&StoreJournal::Place::wanted);
  journal_.undo();
  restore(begun_);
  cpu_.flags ^= packed(static_cast<u8>(flag::all & ~live_[first]));
  if (vectors_) cpu_.fpu.unpark();
  open_ = true;
}

/// Executes from the segment's start up to the instruction `limit`, to one that translated code would
/// call a handler for, or to a way out. Every store goes the slow way, past the journal.
ExecutorCheck::Way ExecutorCheck::interpret(unsigned limit) {
  Tlb* const tlb = cpu_.frame.tlb;
  const u64 cr2 = cpu_.s.cr2;
  cpu_.frame.tlb = &cpu_.never_hits_;
  cpu_.journal_ = &journal_;
  cpu_.gpr[17] = start_rip_;
  Way way;
  for (way.end = first_; way.end < limit; ++way.end) {
    if (way.end < insns_.size() && by_handler(insns_[way.end])) break;
    const Insn& insn = copies_[way.end];
    const Step st = insn.fn(cpu_, insn);
    if (st == Step::next) continue;
    way.left = st == Step::branch;
    if (!way.left) way.stopped = st;
    break;
  }
  cpu_.journal_ = nullptr;
  cpu_.frame.tlb = tlb;
  cpu_.s.cr2 = cr2;
  return way;
}

/// Translated code has come to `end`, or has left the block.
bool ExecutorCheck::finish(unsigned end, bool left) {
  open_ = false;
  cpu_.fpu.park();  // libc may use any register
  save(found_);
  journal_.capture(&StoreJournal::Place::found);
  const bool as_planned = left ? way_.left : !way_.left && end == way_.end;
  if (!as_planned) {  // a window that does not fit, a poll: how does the interpreter get there?
    if (left || !back_to_start(end, false)) {
      report("translated code went another way than the interpreter", end, left);
      return false;
    }
    cpu_.rip = found_.r.rip;
    save(wanted_);
    journal_.capture(&StoreJournal::Place::wanted);
  }
  u16 flags = needed_flags(end, left);
  if ((wanted_.r.flags ^ found_.r.flags) & flags)
    flags &= static_cast<u16>(~packed(undefined_flags(left ? way_.end + 1 : end)));
  if (same(wanted_, found_, flags, left) && journal_.same_found()) {
    cpu_.flags = wanted_.r.flags;
    return true;
  }
  const bool there = back_to_start(end, left);
  if (!left) cpu_.rip = found_.r.rip;
  save(again_);
  if (!there || (same(wanted_, again_, packed(flag::all), left) && journal_.is_there())) {
    report("translated code does not do what the interpreter does", end, left);
    return false;
  }
  ++raced;
  return true;
}

/// Takes everything back and has the interpreter come to the same place. False: it does not.
bool ExecutorCheck::back_to_start(unsigned end, bool left) {
  const unsigned count = journal_.count();
  journal_.undo();
  restore(begun_);
  const Way way = interpret(left ? block_->count + 1u : end);
  journal_.keep(count);
  return left ? way.left : !way.left && way.end == end && way.stopped == Step::next;
}

// ---- state ----------------------------------------------------------------------------------------

void ExecutorCheck::save(State& to) {
  for (unsigned n = 0; n < 16; ++n) to.r.gpr[n] = cpu_.gpr[n];
  to.r.rip = cpu_.rip;
  to.r.flags = cpu_.flags;
  if (!vectors_) return;
  cpu_.fpu.fetch();
  mem::ram_copy(to.v.area.data(), cpu_.fpu.area(), to.v.area.size());
  to.v.fip = cpu_.fpu.fip, to.v.fdp = cpu_.fpu.fdp, to.v.fop = cpu_.fpu.fop;
}

void ExecutorCheck::restore(const State& from) {
  for (unsigned n = 0; n < 16; ++n) cpu_.gpr[n] = from.r.gpr[n];
  cpu_.rip = from.r.rip;
  cpu_.flags = from.r.flags;
  if (!vectors_) return;
  cpu_.fpu.fetch();
  mem::ram_copy(cpu_.fpu.area(), from.v.area.data(), from.v.area.size());
  cpu_.fpu.fip = from.v.fip, cpu_.fpu.fdp = from.v.fdp, cpu_.fpu.fop = from.v.fop;
}

u16 ExecutorCheck::packed(u8 flags) {
  const unsigned in_ah = flags & ~unsigned{flag::of};
  return static_cast<u16>(in_ah << 8 | (flags & flag::of ? 1u : 0u));
}

u16 ExecutorCheck::needed_flags(unsigned end, bool left) const {
  if (!left) return packed(live_[end]);
  if (way_.end >= insns_.size()) return packed(live_[insns_.size()]);
  const GuestInsn& g = insns_[way_.end];
  if (g.kind == Kind::call || g.kind == Kind::jump) return packed(live_[way_.end]);
  return g.kind == Kind::jump_cond ? packed(cpu_.translator_.live_at(*block_, g)) : packed(flag::all);
}

bool ExecutorCheck::same(const State& a, const State& b, u16 flags, bool left) const {
  if (a.r.gpr != b.r.gpr || (left && a.r.rip != b.r.rip) || ((a.r.flags ^ b.r.flags) & flags)) return false;
  if (!vectors_) return true;
  if (a.v.fip != b.v.fip || a.v.fdp != b.v.fdp || a.v.fop != b.v.fop) return false;
  for (unsigned at = 0; at < XsaveLayout::host().size; ++at)
    if (vector_byte(a.v, at) != vector_byte(b.v, at)) return false;
  return true;
}

/// A byte of the area as it reads when components in their initial state are filled in. What the host
/// keeps of its own there, pointers and XSTATE_BV, reads as zero.
u8 ExecutorCheck::vector_byte(const Vectors& v, unsigned at) {
  constexpr unsigned pointers = 6, mxcsr = 24, registers = 32, xmm = 160, legacy_end = 416, extended = 576;
  u64 present = 0;
  __builtin_memcpy(&present, v.area.data() + 512, 8);
  if (at >= mxcsr && at < mxcsr + 4) return v.area[at];
  if ((at >= pointers && at < registers) || (at >= legacy_end && at < extended)) return 0;
  if (at < xmm) {
    if (present & x86::xcr0::x87) return v.area[at];
    return at == 0 ? 0x7f : at == 1 ? 0x03 : 0;  // FCW = 037Fh
  }
  if (at < legacy_end) return present & x86::xcr0::sse ? v.area[at] : 0;
  for (const unsigned component : {2u, 5u, 6u, 7u}) {
    const auto part = XsaveLayout::host().part(component);
    if (at >= part.offset && at < unsigned{part.offset} + part.length)
      return present >> component & 1 ? v.area[at] : 0;
  }
  return 0;
}

}  // namespace bhyve::soft
