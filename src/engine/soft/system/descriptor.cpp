#include "engine/soft/system/descriptor.hpp"

#include "engine/soft/system/system.hpp"

namespace bhyve::soft {

using x86::Seg;
using x86::Segment;
using x86::Vector;

u64 Descriptor::base() const {
  return (raw >> 16 & 0xff'ffff) | (raw >> 32 & 0xff00'0000);
}

u32 Descriptor::limit() const {
  const u32 field = static_cast<u32>((raw & 0xffff) | (raw >> 32 & 0xf'0000));
  return raw & bit(55) ? field << 12 | 0xfff : field;
}

Segment Descriptor::cache(u16 as_selector, bool wide_base) const {
  Segment s;
  s.selector = as_selector;
  s.access = static_cast<u32>(raw >> 40) & 0xf0ff;
  s.limit = limit();
  s.base = base();
  if (wide_base) s.base |= (high & 0xffff'ffff) << 32;
  return s;
}

bool find_descriptor(Cpu& cpu, u16 selector, Descriptor& out, bool& found, bool wide) {
  found = false;
  u64 base = cpu.s.gdtr.base;
  u64 limit = cpu.s.gdtr.limit;
  if (selector & 4) {
    const Segment& ldt = cpu.s.seg[static_cast<u8>(Seg::ldtr)];
    if (ldt.access & Segment::unusable || is_null(ldt.selector)) return true;
    base = ldt.base;
    limit = ldt.limit;
  }
  const u64 offset = selector & 0xfff8;
  if (offset + 7 > limit) return true;
  out.selector = selector;
  out.la = base + offset;
  out.high = 0;
  if (!cpu.long_mode()) out.la = static_cast<u32>(out.la);
  if (!cpu.read_system(out.la, out.raw)) return false;
  if (wide && out.system()) {
    if (offset + 15 > limit) return true;
    if (!cpu.read_system(out.la + 8, out.high)) return false;
  }
  found = true;
  return true;
}

bool read_descriptor(Cpu& cpu, u16 selector, Descriptor& out, Vector v, u32 ext, bool wide) {
  bool found = false;
  if (!find_descriptor(cpu, selector, out, found, wide)) return false;
  if (!found) cpu.raise(v, selector_error(selector) | ext);
  return found;
}

bool mark_accessed(Cpu& cpu, Descriptor& d) {
  if (d.raw & bit(40)) return true;
  // Only the type byte is written, so that a neighbour's update of other fields is not undone.
  if (!cpu.write_system(d.la + 5, static_cast<u8>(d.raw >> 40 | 1))) return false;
  d.raw |= bit(40);
  return true;
}

void commit_segment(Cpu& cpu, Seg seg, const Segment& value) {
  const auto n = static_cast<u8>(seg);
  cpu.s.seg[n] = value;
  cpu.seg_base[n] = value.base;
  cpu.update_segments();
}

Segment real_segment(Cpu& cpu, Seg seg, u16 selector) {
  Segment s = cpu.s.seg[static_cast<u8>(seg)];
  s.selector = selector;
  s.base = u64{selector} << 4;
  if (s.access & Segment::unusable) s.limit = 0xffff;
  // Real mode is privilege level 0 and everything may be written (SDM vol. 3, 9.9).
  s.access = (s.access & (Segment::big | Segment::granular)) | 0x93;
  if (seg == Seg::cs) s.access &= ~Segment::long_mode;
  return s;
}

Segment v86_segment(u16 selector) {
  return {selector, 0xf3, 0xffff, u64{selector} << 4};
}

Segment null_segment(u16 selector, unsigned dpl) {
  return {selector, Segment::unusable | dpl << 5, 0, 0};
}

void drop_inner_segments(Cpu& cpu, unsigned cpl) {
  for (const Seg seg : {Seg::es, Seg::ds, Seg::fs, Seg::gs}) {
    const Segment& s = cpu.s.seg[static_cast<u8>(seg)];
    const bool conforming = (s.access & 0x1c) == 0x1c;
    if (s.access & Segment::unusable) {
      // A null selector loses its RPL; the bases of FS and GS stay (SDM vol. 2, IRET).
      cpu.s.seg[static_cast<u8>(seg)].selector = 0;
    } else if (Segment::Dpl::get(s.access) < cpl && !conforming) {
      commit_segment(cpu, seg, null_segment(0));
    }
  }
}

bool check_stack_segment(Cpu& cpu, u16 selector, unsigned cpl, Vector v, u32 ext, Descriptor& out) {
  if (is_null(selector)) {
    cpu.raise(v, ext);
    return false;
  }
  if (!read_descriptor(cpu, selector, out, v, ext)) return false;
  if (rpl_of(selector) != cpl || out.dpl() != cpl || !out.writable_data()) {
    cpu.raise(v, selector_error(selector) | ext);
    return false;
  }
  if (!out.present()) {
    cpu.raise(Vector::ss, selector_error(selector) | ext);
    return false;
  }
  return true;
}

bool read_tss_stack(Cpu& cpu, unsigned cpl, u16& ss, u64& sp, u32 ext) {
  const Segment& tr = cpu.s.seg[static_cast<u8>(Seg::tr)];
  const bool wide = (tr.access & 0xf) == systype::tss32_busy || (tr.access & 0xf) == systype::tss32;
  const u64 at = wide ? 4 + 8 * cpl : 2 + 4 * cpl;
  if (at + (wide ? 5 : 3) > tr.limit) {
    cpu.raise(Vector::ts, selector_error(tr.selector) | ext);
    return false;
  }
  if (wide) {
    u32 esp = 0;
    if (!cpu.read_system(tr.base + at, esp)) return false;
    sp = esp;
    return cpu.read_system(tr.base + at + 4, ss);
  }
  u16 narrow = 0;
  if (!cpu.read_system(tr.base + at, narrow)) return false;
  sp = narrow;
  return cpu.read_system(tr.base + at + 2, ss);
}

bool read_tss64(Cpu& cpu, unsigned offset, u64& value, u32 ext) {
  const Segment& tr = cpu.s.seg[static_cast<u8>(Seg::tr)];
  if (offset + 7 > tr.limit) {
    cpu.raise(Vector::ts, selector_error(tr.selector) | ext);
    return false;
  }
  return cpu.read_system(tr.base + offset, value);
}

FarStack::FarStack(Cpu& cpu)
    : cpu_(cpu), ss_(cpu.s.seg[static_cast<u8>(Seg::ss)]), sp_(cpu.r(x86::Gpr::rsp)),
      width_(cpu.stack_size()), supervisor_(false), flat_(cpu.code64()), error_(0) {
  sp_ = wrap(sp_);
}

FarStack::FarStack(Cpu& cpu, const Segment& ss, u64 sp, unsigned width, unsigned cpl, u32 error)
    : cpu_(cpu), ss_(ss), sp_(sp), width_(width), supervisor_(cpl != cpu.cpl()),
      flat_(width == 8), error_(error) {
  sp_ = wrap(sp_);
}

bool FarStack::address(u64 offset, unsigned size, u64& la) const {
  if (flat_) {
    la = offset;
    if (x86::is_canonical(la) && x86::is_canonical(la + size - 1)) return true;
    cpu_.raise(Vector::ss, error_);
    return false;
  }
  const u64 last = offset + size - 1;
  const bool down = (ss_.access & 0x1c) == 0x14;
  const u64 top = ss_.access & Segment::big ? 0xffff'ffff : 0xffff;
  const bool ok = down ? offset > ss_.limit && last <= top : last <= ss_.limit;
  if (!ok || ss_.access & Segment::unusable) {
    cpu_.raise(Vector::ss, error_);
    return false;
  }
  la = static_cast<u32>(ss_.base + offset);
  return true;
}

bool FarStack::push(u64 value, unsigned size) {
  const u64 to = wrap(sp_ - size);
  u64 la = 0;
  if (!address(to, size, la)) return false;
  bool ok = false;
  if (!supervisor_) {
    ok = write_sized(cpu_, la, size, value, Seg::ss);
  } else {
    switch (size) {
      case 2: ok = cpu_.write_system(la, static_cast<u16>(value)); break;
      case 4: ok = cpu_.write_system(la, static_cast<u32>(value)); break;
      default: ok = cpu_.write_system(la, value); break;
    }
  }
  if (ok) sp_ = to;
  return ok;
}

bool FarStack::pop(u64& value, unsigned size) {
  u64 la = 0;
  if (!address(sp_, size, la) || !read_sized(cpu_, la, size, value, Seg::ss)) return false;
  sp_ = wrap(sp_ + size);
  return true;
}

void FarStack::commit() const {
  u64& rsp = cpu_.r(x86::Gpr::rsp);
  rsp = width_ == 2 ? (rsp & ~u64{0xffff}) | sp_ : sp_;
}

}  // namespace bhyve::soft
