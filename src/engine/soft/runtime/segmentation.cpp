// Segment-relative addresses and the stack.
#include "engine/soft/cpu.hpp"

namespace bhyve::soft {

using x86::Seg;
using x86::Segment;

namespace {

/// Limit check of [offset, offset + size) (SDM vol. 3, 5.3), expand-down included.
bool inside(const Segment& seg, u64 offset, unsigned size) {
  const u64 last = offset + size - 1;
  const bool data = (seg.access & 0x18) == 0x10;
  if (data && (seg.access & 4)) {
    const u64 top = seg.access & Segment::big ? 0xffff'ffff : 0xffff;
    return offset > seg.limit && last <= top && last >= offset;
  }
  return last <= seg.limit && last >= offset;
}

}  // namespace

bool Cpu::linear(Seg which, u64 offset, unsigned size, bool write, u64& la) {
  if (code64()) {
    la = offset + (which == Seg::fs || which == Seg::gs ? seg_base[static_cast<u8>(which)] : 0);
    return true;
  }
  const Segment& seg = s.seg[static_cast<u8>(which)];
  bool ok = !(seg.access & Segment::unusable);
  if (ok && protected_mode() && !v86_mode()) {
    const bool code = seg.access & 8;
    const bool bit1 = seg.access & 2;  // data: writable, code: readable
    ok = write ? !code && bit1 : !code || bit1;
  }
  ok = ok && inside(seg, offset, size);
  if (!ok) {
    raise(which == Seg::ss ? x86::Vector::ss : x86::Vector::gp, 0);
    return false;
  }
  la = static_cast<u32>(seg.base + offset);
  return true;
}

namespace {
u64 sp_mask(unsigned stack_size) {
  return stack_size == 8 ? ~u64{0} : stack_size == 4 ? 0xffff'ffff : 0xffff;
}
}  // namespace

void Cpu::adjust_sp(i64 n) {
  u64& sp = r(x86::Gpr::rsp);
  const u64 mask = sp_mask(stack_size_);
  const u64 moved = (sp + static_cast<u64>(n)) & mask;
  sp = stack_size_ == 2 ? (sp & ~mask) | moved : moved;
}

bool Cpu::push(u64 value, unsigned size) {
  const u64 offset = (r(x86::Gpr::rsp) - size) & sp_mask(stack_size_);
  u64 la;
  if (!linear(Seg::ss, offset, size, true, la)) return false;
  bool ok;
  switch (size) {
    case 2: ok = write<u16>(la, static_cast<u16>(value), Seg::ss); break;
    case 4: ok = write<u32>(la, static_cast<u32>(value), Seg::ss); break;
    default: ok = write<u64>(la, value, Seg::ss); break;
  }
  if (ok) adjust_sp(-static_cast<i64>(size));
  return ok;
}

bool Cpu::peek(u64& value, unsigned size, u64 skip) {
  const u64 offset = (r(x86::Gpr::rsp) + skip) & sp_mask(stack_size_);
  u64 la;
  if (!linear(Seg::ss, offset, size, false, la)) return false;
  switch (size) {
    case 2: {
      u16 v = 0;
      if (!read(la, v, Seg::ss)) return false;
      value = v;
      return true;
    }
    case 4: {
      u32 v = 0;
      if (!read(la, v, Seg::ss)) return false;
      value = v;
      return true;
    }
    default: return read(la, value, Seg::ss);
  }
}

}  // namespace bhyve::soft
