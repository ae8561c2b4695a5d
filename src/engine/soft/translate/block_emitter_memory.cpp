// Linear addresses and the in-line TLB lookup.
#include "engine/soft/cpu.hpp"
#include "engine/soft/translate/block_emitter.hpp"
#include "engine/soft/translate/translator_helpers.hpp"

namespace bhyve::soft {

HostMem BlockEmitter::operand(const Insn& i) {
  HostMem m{HostMem::none, i.disp, HostMem::none, static_cast<u8>(i.scale)};
  if (i.base == slot::rip) {
    load_page(m.base = host::s0);
    m.disp += static_cast<i32>(start_);
  } else if (i.base != slot::zero) {
    m.base = host::of_guest[i.base / 8];
    if (m.base == host::in_memory) c_.load(m.base = host::s0, home(i.base / 8));
  }
  if (i.index != slot::zero) {
    m.index = host::of_guest[i.index / 8];
    if (m.index == host::in_memory) c_.load(m.index = host::s1, home(i.index / 8));
  }
  return m;
}

void BlockEmitter::address(const Insn& i) {
  const HostMem m = operand(i);
  if (m.base == HostMem::none && m.index == HostMem::none)
    c_.move_imm(host::s0, static_cast<u64>(i64{m.disp}));
  else
    c_.lea(host::s0, m);
  if (i.base_seg == 4 || i.base_seg == 5)
    c_.rm(0x03, host::s0, state(t_.offset(t_.cpu().seg_base[i.base_seg])));
}

void BlockEmitter::check(const GuestInsn& g, unsigned size, bool write) {
  Cold cold{Cold::Kind::missed};
  cold.retry = c_.at();
  cold.g = &g;
  cold.write = write;
  cold.size = static_cast<u8>(size);
  constexpr unsigned index_shift = page_shift - 5;  // entries have 32 bytes
  constexpr i32 index_mask = (Tlb::entries - 1) << 5;
  if (bmi2_) {  // rorx s1d, s0d, 7
    c_.byte(0xc4), c_.byte(0x43), c_.byte(0x7b), c_.byte(0xf0);
    c_.modrm(host::s1, host::s0);
    c_.byte(index_shift);
  } else {
    c_.rr(0x8b, host::s1, host::s0, false);
    c_.byte(0x41), c_.byte(0xc1);  // shr s1d, 7
    c_.modrm(5, host::s1);
    c_.byte(index_shift);
  }
  c_.alu_imm(op::and_, host::s1, index_mask, false);
  c_.rm(0x03, host::s1, state(tlb_));
  c_.rm(0x03, host::s0, {host::s1, write ? 8 : 0});
  c_.alu_imm(op::cmp, host::s0, static_cast<i32>(page_size - size));
  cold.from = c_.jump_if(cc::a);
  cold_.push_back(cold);
  if (g.locks() && size > 1) {  // across a cache line no host instruction may lock (BusLock)
    c_.byte(0x41), c_.byte(0xf6);  // test s0b, size - 1
    c_.modrm(0, host::s0);
    c_.byte(size - 1);
    cold.size = TranslatorHelpers::by_handler;
    cold.from = c_.jump_if(cc::nz);
    cold_.push_back(cold);
  }
  c_.load(host::s1, {host::s1, 24});
}

}  // namespace bhyve::soft
