#include "engine/soft/translate/translator_helpers.hpp"

#include "engine/soft/cpu.hpp"
#include "engine/soft/replay/replay.hpp"
#include "engine/soft/runtime/block_cache.hpp"
#include "engine/soft/translate/executor_check.hpp"

namespace bhyve::soft {

void TranslatorHelpers::begin(Cpu& cpu, const Insn& insn, u32 descriptor) {
  cpu.gpr[17] = cpu.frame.page + (descriptor >> 8);
  cpu.current_ = &insn;
}

bool TranslatorHelpers::goes_on(u64 result) {
  return result == 0 || result == static_cast<u64>(LeaveCode::executed) || result > page_size;
}

void TranslatorHelpers::make_live(Cpu& cpu) { cpu.fpu.unpark(); }

/// A branch, or the end of an instruction after which the world has to be looked at anew: mostly there
/// is nothing to see, and translated code goes on at Cpu::rip.
u64 TranslatorHelpers::go_on(Cpu& cpu, Step step) {
  if (step != Step::branch && step != Step::stop) return static_cast<u64>(step);
  if (step == Step::stop) (void)cpu.settle(step);
  const auto leave = static_cast<u64>(Step::branch);
  if (cpu.check_ || cpu.frame.poll.load(std::memory_order_relaxed) || cpu.slow_ || cpu.s.interrupt_shadow ||
      cpu.resume_single_ || cpu.direct_is_next())
    return leave;
  if (const u8* known = cpu.translator_.enter_known()) return reinterpret_cast<u64>(known);
  Block* block = cpu.find_block();
  if (!block) return leave;  // the run loop meets the fault again
  cpu.current_ = nullptr;
  const u8* code = cpu.translator_.enter(*block);
  return code ? reinterpret_cast<u64>(code) : leave;
}

u64 TranslatorHelpers::callout(Cpu& cpu, const Insn& insn, u32 descriptor) {
  begin(cpu, insn, descriptor);
  if (cpu.check_ && !cpu.check_->arrive(insn)) return static_cast<u64>(Step::exit);
  ++cpu.counters.callouts;
  constexpr u8 any_rep = static_cast<u8>(Prefix::rep) | static_cast<u8>(Prefix::repne);
  const bool flat = cpu.flat32();
  Step step;
  do {
    step = insn.fn(cpu, insn);
  } while (step == Step::repeat && (insn.prefix & any_rep) &&
           !cpu.frame.poll.load(std::memory_order_relaxed));
  if (step == Step::next && cpu.flat32() != flat) step = cpu.finish(insn);  // code for flat segments ends
  if (step != Step::next) return go_on(cpu, step);
  if (cpu.check_) cpu.check_->go_on_behind(insn);
  return 0;
}

u64 TranslatorHelpers::callout_live(Cpu& cpu, const Insn& insn, u32 descriptor) {
  const u64 result = callout(cpu, insn, descriptor);
  if (result == 0) cpu.fpu.unpark();
  return result;
}

u64 TranslatorHelpers::missed(Cpu& cpu, u64 linear, u32 packed, bool write) {
  ++cpu.counters.translated_misses;
  const MissedAccess access(packed);
  const bool live = cpu.fpu.live();
  u64 result = 0;
  // What can be mapped is, quietly; whatever goes wrong the interpreter finds in its own order.
  const u64 cr2 = cpu.s.cr2;
  Cpu::Place place;
  const mem::Prot kind = write ? mem::Prot::write : mem::Prot::read;
  bool hit = false;
  if (access.size != by_handler && cpu.frame.tlb != &cpu.never_hits_ && x86::is_canonical(linear) &&
      (linear & page_mask) + access.size <= page_size && cpu.resolve(linear, kind, false, place)) {
    const Tlb::Entry& e = cpu.frame.tlb->at(linear);
    hit = Tlb::hits(write ? e.write : e.read, linear, access.size);
  } else {
    cpu.s.cr2 = cr2;
  }
  if (!hit) result = by_interpreter(cpu, access);
  if (live && result <= static_cast<u64>(LeaveCode::executed)) cpu.fpu.unpark();
  return result;
}

u64 TranslatorHelpers::by_interpreter(Cpu& cpu, const MissedAccess& access) {
  const Block& block = *cpu.translator_.translation(access.translation).block;
  const Insn& insn = cpu.recall(block, access.insn);
  begin(cpu, insn, static_cast<u32>(block.gpa & page_mask) << 8);
  if (insn.fn == no_stub_room) return static_cast<u64>(cpu.begin_again(insn));
  if (cpu.check_ && !cpu.check_->arrive(insn)) return static_cast<u64>(Step::exit);
  const Step st = insn.fn(cpu, insn);
  if (cpu.check_ && st == Step::next) cpu.check_->go_on_behind(insn);
  return st == Step::next ? static_cast<u64>(LeaveCode::executed) : go_on(cpu, st);
}

u64 TranslatorHelpers::read_missed(Cpu& cpu, u64 linear, u32 access) {
  return missed(cpu, linear, access, false);
}
u64 TranslatorHelpers::write_missed(Cpu& cpu, u64 linear, u32 access) {
  return missed(cpu, linear, access, true);
}

u64 TranslatorHelpers::jump_missed(Cpu& cpu, const Insn& insn, u32 descriptor) {
  begin(cpu, insn, descriptor);
  ++cpu.translator_.counters.jump_misses;
  TranslatedFrame& f = cpu.frame;
  const u64 page = f.linear, index = f.temporary[0] / 2;
  const u64 target = page | ((index ^ page >> page_shift) & page_mask);
  if (const Block* b = cpu.blocks_->quick(target); b && (b->translation || cpu.check_)) {
    cpu.translator_.note_target(
        target, cpu.check_ ? cpu.translator_.thunks().exit_jump : cpu.translator_.code_of(*b->translation));
    f.linear = target;
    return 0;
  }
  if (cpu.check_ && !cpu.check_->arrive(insn)) return static_cast<u64>(Step::exit);
  return go_on(cpu, insn.fn(cpu, insn));
}

}  // namespace bhyve::soft
