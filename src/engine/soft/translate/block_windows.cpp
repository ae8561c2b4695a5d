#include "engine/soft/translate/block_windows.hpp"

#include <algorithm>

#include "engine/soft/translate/host_code.hpp"
#include "engine/soft/translate/translated_state.hpp"

namespace bhyve::soft {

namespace {
constexpr unsigned rsp = 4, rbp = 5;
}

void BlockWindows::analyse(const std::vector<GuestInsn>& insns, bool frame_stack) {
  operand_.assign(insns.size(), {});
  stack_.assign(insns.size(), {});
  open_.clear();
  windows_.clear();
  origins_ = 0;
  forget_all();
  for (unsigned n = 0; n < insns.size(); ++n) {
    note_operand(n, insns[n]);
    note_stack(n, insns[n]);
    note_effects(insns[n]);
  }
  choose(frame_stack);
}

void BlockWindows::forget_all() {
  for (unsigned r = 0; r < 16; ++r) fresh(r);
}

void BlockWindows::access(Access& a, unsigned base, i64 disp, unsigned size, bool write) {
  const Value v = values_[base];
  if (open_.size() <= v.origin) open_.resize(v.origin + 1, none);
  const i64 low = v.offset + disp, high = low + size;
  u8& open = open_[v.origin];
  if (open != none) {
    const Window& w = windows_[open];
    if (std::max(w.high, high) - std::min(w.low, low) > limit) open = none;
  }
  const bool first = open == none;
  if (first) {
    if (windows_.size() == none) return;
    open = static_cast<u8>(windows_.size());
    windows_.push_back({0, low, high, false, base == rsp, none});
  }
  Window& w = windows_[open];
  ++w.count;
  w.low = std::min(w.low, low);
  w.high = std::max(w.high, high);
  w.write |= write;
  // `low` gets its final meaning in choose(), when the window is complete.
  a = {open, first, static_cast<u8>(base), static_cast<i32>(disp), v.offset};
}

void BlockWindows::note_operand(unsigned n, const GuestInsn& g) {
  if (!g.memory() || g.kind == Kind::callout || g.kind == Kind::nothing || g.kind == Kind::lea) return;
  const Insn& i = *g.insn;
  if (g.x87 || g.masked || g.locks() || g.size == 0 || i.index != slot::zero || i.base == slot::zero ||
      i.base == slot::rip || i.base_seg == 4 || i.base_seg == 5)
    return;
  const unsigned base = i.base / 8;
  if (host::of_guest[base] == host::in_memory) return;
  access(operand_[n], base, i.disp, g.size, g.mem_written);
}

void BlockWindows::note_stack(unsigned n, const GuestInsn& g) {
  switch (g.kind) {
    case Kind::push:
    case Kind::push_imm:
    case Kind::pushf:
    case Kind::call:
    case Kind::call_indirect: access(stack_[n], rsp, -8, 8, true); break;
    case Kind::pop:
    case Kind::ret: access(stack_[n], rsp, 0, 8, false); break;
    case Kind::leave: access(stack_[n], rbp, 0, 8, false); break;
    default: break;
  }
}

void BlockWindows::note_effects(const GuestInsn& g) {
  // After STAC and CLAC other pages may be accessed.
  if (g.kind == Kind::callout || g.kind == Kind::stac) return forget_all();
  if (g.kind == Kind::leave) {
    values_[rsp] = {values_[rbp].origin, values_[rbp].offset + 8};
    return fresh(rbp);
  }
  const u16 written = g.gpr_written();
  const GuestInsn::Sum sum = g.sum();
  const Value source = sum.known ? values_[sum.from] : Value{};
  for (unsigned r = 0; r < 16; ++r)
    if (written >> r & 1) fresh(r);
  if (sum.known) values_[sum.to] = {source.origin, source.offset + sum.constant};
  switch (g.kind) {
    case Kind::push:
    case Kind::push_imm:
    case Kind::pushf:
    case Kind::call:
    case Kind::call_indirect: values_[rsp].offset -= 8; break;
    case Kind::pop:
      if (!(written >> rsp & 1)) values_[rsp].offset += 8;
      break;
    default: break;
  }
}

/// Which windows are worth it. Later ones than there are slots for are not.
void BlockWindows::choose(bool frame_stack) {
  unsigned slots = 0;
  bool stack_used = !frame_stack;
  kept_.assign(windows_.size(), 0);
  for (unsigned w = 0; w < windows_.size(); ++w) {
    Window& window = windows_[w];
    if (window.stack && !stack_used) {
      kept_[w] = stack_used = true;
    } else if (window.count > 1 && slots < 4) {
      kept_[w] = true;
      window.slot = static_cast<u8>(slots++);
    }
  }
  for (std::vector<Access>* list : {&operand_, &stack_})
    for (Access& a : *list) {
      if (a.window == none) continue;
      a.low = windows_[a.window].low - a.low;
      if (!kept_[a.window]) a.window = none;
    }
}

}  // namespace bhyve::soft
