// Linear addresses and the in-line TLB lookup.
#include <cstddef>

#include "engine/soft/cpu.hpp"
#include "engine/soft/translate/block_emitter.hpp"
#include "engine/soft/translate/translator_helpers.hpp"

namespace bhyve::soft {

namespace {
constexpr i32 entry_read = offsetof(Tlb::Entry, read), entry_write = offsetof(Tlb::Entry, write),
              entry_addend = offsetof(Tlb::Entry, addend), entry_host = offsetof(Tlb::Entry, host);
}

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
    if (m.index == host::in_memory) {
      held_ = BlockWindows::none;
      c_.load(m.index = host::s1, home(i.index / 8));
    }
  }
  return m;
}

void BlockEmitter::address(const Insn& i) {
  const HostMem m = operand(i);
  if (m.base == HostMem::none && m.index == HostMem::none)
    c_.move_imm(host::s0, code32_ ? static_cast<u32>(m.disp) : static_cast<u64>(i64{m.disp}));
  else
    lea_word(host::s0, m);
  if (i.base_seg == 4 || i.base_seg == 5)
    c_.rm(0x03, host::s0, state(t_.offset(t_.cpu().seg_base[i.base_seg])), !code32_);
}

/// s0 = linear address -> s1 = its entry in the current Tlb.
void BlockEmitter::find_entry() {
  constexpr unsigned index_shift = page_shift - 5;  // entries have 32 bytes
  constexpr i32 index_mask = (Tlb::entries - 1) << 5;
  held_ = BlockWindows::none;
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
}

u8* BlockEmitter::leave_unless_below(u32 end) {
  c_.alu_imm(op::cmp, host::s0, static_cast<i32>(end));
  u8* jump = c_.jump_if(cc::ae);
  if (mask_) c_.rm(0x0f40 | cc::ae, host::s0, state(zero_));  // no processor predicts a CMOV (docs/isolation.md)
  return jump;
}

void BlockEmitter::check(const GuestInsn& g, unsigned size, bool write) {
  Cold cold{Cold::Kind::missed};
  cold.retry = c_.at();
  cold.g = &g;
  cold.write = write;
  // Where not the whole operand may be accessed, the handler looks at the mask. And where it must be aligned, at
  // that: #GP comes before the page is looked up and marked.
  cold.size = g.masked || g.aligned ? TranslatorHelpers::by_handler : static_cast<u8>(size);
  find_entry();
  c_.rm(0x03, host::s0, {host::s1, write ? entry_write : entry_read});
  cold.from = leave_unless_below(static_cast<u32>(page_size - size + 1));
  cold_.push_back(cold);
  if (g.locks() && size > 1) {  // across a cache line no host instruction may lock (BusLock)
    c_.byte(0x41), c_.byte(0xf6);  // test s0b, size - 1
    c_.modrm(0, host::s0);
    c_.byte(size - 1);
    cold.size = TranslatorHelpers::by_handler;
    cold.from = c_.jump_if(cc::nz);
    cold_.push_back(cold);
  }
  c_.load(host::s1, {host::s1, entry_host});
}

void BlockEmitter::check_window(const GuestInsn& g, const BlockWindows::Access& a) {
  const BlockWindows::Window& w = windows_.window(a);
  const auto room = static_cast<i32>(page_size - windows_.span(a));
  clobber_flags(g.reads | (g.live_after & ~g.writes));
  c_.lea(host::s0, {host::of_guest[a.base], static_cast<i32>(a.low)});
  Cold cold{w.slot == BlockWindows::none ? Cold::Kind::stack_missed : Cold::Kind::plain};
  cold.g = &g;
  cold.room = room;
  cold.exit = new_exit();
  exits_[cold.exit].plain = true;
  exits_[cold.exit].page_offset = static_cast<u32>(offset_of(g));
  if (w.slot == BlockWindows::none) {
    held_ = BlockWindows::none;
    c_.rm(0x03, host::s0, state(stack_key_));
    c_.alu_imm(op::cmp, host::s0, room);
    cold.from = c_.jump_if(cc::a);
  } else {
    find_entry();
    c_.rm(0x03, host::s0, {host::s1, w.write ? entry_write : entry_read});
    cold.from = leave_unless_below(static_cast<u32>(room + 1));
    if (mask_) {  // the addend that makes the window's first byte the masked one
      c_.load(host::s1, {host::s1, entry_host});
      c_.rr(0x03, host::s1, host::s0);
      c_.rr(0x2b, host::s1, host::of_guest[a.base]);
      c_.alu_imm(op::sub, host::s1, static_cast<i32>(a.low));
    } else {
      c_.load(host::s1, {host::s1, entry_addend});
    }
    c_.store(state(slot_ + w.slot * 8), host::s1);
    held_ = a.window;
  }
  cold.back = c_.at();
  cold_.push_back(cold);
}

void BlockEmitter::load_operand(const GuestInsn& g) {
  if (const auto a = operand_access(g); windowed(g, a)) return load_word(host::s0, in_window(a));
  clobber_flags(g.live_after);
  address(*g.insn);
  check(g, g.word(), false);
  load_word(host::s0, {host::s0, 0, host::s1});
}

bool BlockEmitter::windowed(const GuestInsn& g, const BlockWindows::Access& a) {
  if (a.window == BlockWindows::none) return false;
  if (a.first) check_window(g, a);
  return true;
}

HostMem BlockEmitter::in_window(const BlockWindows::Access& a) {
  if (held_ != a.window) {
    const u8 slot = windows_.window(a).slot;
    c_.load(host::s1, state(slot == BlockWindows::none ? stack_addend_ : slot_ + slot * 8));
    held_ = a.window;
  }
  return {host::of_guest[a.base], a.disp, host::s1};
}

}  // namespace bhyve::soft
