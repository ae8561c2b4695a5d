#include "engine/soft/translate/translator_helpers.hpp"

#include "engine/soft/cpu.hpp"
#include "engine/soft/runtime/block_cache.hpp"

namespace bhyve::soft {

void TranslatorHelpers::begin(Cpu& cpu, const Insn& insn, u32 descriptor) {
  cpu.gpr[17] = cpu.frame.page + (descriptor >> 8);
  cpu.current_ = &insn;
}

u32 TranslatorHelpers::callout(Cpu& cpu, const Insn& insn, u32 descriptor) {
  begin(cpu, insn, descriptor);
  ++cpu.counters.callouts;
  return static_cast<u32>(insn.fn(cpu, insn));
}

u32 TranslatorHelpers::callout_live(Cpu& cpu, const Insn& insn, u32 descriptor) {
  const u32 step = callout(cpu, insn, descriptor);
  if (step == 0) cpu.fpu.unpark();
  return step;
}

u32 TranslatorHelpers::missed(Cpu& cpu, u64 linear, const Insn& insn, u32 descriptor, bool write) {
  ++cpu.counters.translated_misses;
  begin(cpu, insn, descriptor);
  const unsigned size = descriptor & 0xff;
  const bool live = cpu.fpu.live();
  u32 result = 0;
  // What can be mapped is, quietly; whatever goes wrong the interpreter finds in its own order.
  const u64 cr2 = cpu.s.cr2;
  Cpu::Place place;
  const mem::Prot access = write ? mem::Prot::write : mem::Prot::read;
  bool hit = false;
  if (size != by_handler && cpu.frame.tlb != &cpu.never_hits_ && x86::is_canonical(linear) &&
      (linear & page_mask) + size <= page_size && cpu.resolve(linear, access, false, place)) {
    const Tlb::Entry& e = cpu.frame.tlb->at(linear);
    hit = Tlb::hits(write ? e.write : e.read, linear, size);
  } else {
    cpu.s.cr2 = cr2;
  }
  if (!hit) {
    const Step st = insn.fn(cpu, insn);
    result = st == Step::next ? static_cast<u32>(LeaveCode::executed) : static_cast<u32>(st);
  }
  if (live) cpu.fpu.unpark();
  return result;
}

u32 TranslatorHelpers::read_missed(Cpu& cpu, u64 linear, const Insn& insn, u32 descriptor) {
  return missed(cpu, linear, insn, descriptor, false);
}
u32 TranslatorHelpers::write_missed(Cpu& cpu, u64 linear, const Insn& insn, u32 descriptor) {
  return missed(cpu, linear, insn, descriptor, true);
}

u32 TranslatorHelpers::jump_missed(Cpu& cpu, const Insn& insn, u32 descriptor) {
  begin(cpu, insn, descriptor);
  ++cpu.translator_.counters.jump_misses;
  TranslatedFrame& f = cpu.frame;
  const u64 page = f.linear, index = f.temporary[0] / 2;
  const u64 target = page | ((index ^ page >> page_shift) & page_mask);
  if (const Block* b = cpu.blocks_->quick(target); b && b->translation) {
    cpu.translator_.note_target(target, *b->translation);
    f.linear = target;
    return 0;
  }
  return static_cast<u32>(insn.fn(cpu, insn));
}

}  // namespace bhyve::soft
