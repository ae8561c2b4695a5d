// Descriptor-table registers, LDTR, TR, and the instructions that look at descriptors.
#include "engine/soft/system/descriptor.hpp"
#include "engine/soft/system/system.hpp"

namespace bhyve::soft {

using x86::Seg;
using x86::Segment;
using x86::Vector;

namespace {

bool umip_forbids(const Cpu& cpu) { return cpu.s.cr4 & x86::cr4::umip && cpu.cpl() != 0; }

/// A 16-bit source operand: register or memory.
bool source16(Cpu& cpu, const Insn& i, u16& v) {
  if (i.ea != Ea::none) return cpu.load(i, v);
  v = cpu.reg<u16>(i.src);
  return true;
}

/// Destination of SLDT, STR and SMSW: a register in its full width, memory always 16 bits.
Step store16(Cpu& cpu, const Insn& i, u64 v) {
  if (umip_forbids(cpu)) return cpu.gp0();
  if (i.ea != Ea::none) return cpu.store<u16>(i, static_cast<u16>(v)) ? Step::next : cpu.failed();
  set_reg_sized(cpu, i.dst, bytes_of(i), v);
  return Step::next;
}

Step load_table(Cpu& cpu, const Insn& i, x86::TableRegister& table) {
  if (cpu.cpl() != 0) return cpu.gp0();
  const Seg seg = static_cast<Seg>(+i.seg);
  const unsigned base_size = cpu.code64() ? 8 : 4;
  u64 la = 0, base = 0;
  u16 limit = 0;
  if (!cpu.linear(i, 2 + base_size, false, la) || !cpu.read(la, limit, seg) ||
      !read_sized(cpu, la + 2, base_size, base, seg))
    return cpu.failed();
  if (!cpu.code64() && i.size == 1) base &= 0xff'ffff;
  if (cpu.code64() && !x86::is_canonical(base)) return cpu.gp0();
  table = {base, limit};
  return cpu.finish(i);
}

Step store_table(Cpu& cpu, const Insn& i, const x86::TableRegister& table) {
  if (umip_forbids(cpu)) return cpu.gp0();
  const unsigned size = cpu.code64() ? 10 : 6;
  std::array<u8, 10> image;
  __builtin_memcpy(image.data(), &table.limit, 2);
  __builtin_memcpy(image.data() + 2, &table.base, 8);
  u64 la = 0;
  if (!cpu.linear(i, size, true, la) ||
      !cpu.write_bytes(la, image.data(), size, static_cast<Seg>(+i.seg)))
    return cpu.failed();
  return Step::next;
}

/// Reads an LDT or TSS descriptor out of the GDT and checks it.
bool system_descriptor(Cpu& cpu, u16 selector, bool tss, Descriptor& d) {
  const u32 error = selector_error(selector);
  if (selector & 4) {
    cpu.raise(Vector::gp, error);
    return false;
  }
  if (!read_descriptor(cpu, selector, d, Vector::gp, 0, cpu.long_mode())) return false;
  const unsigned type = d.type();
  const bool type_ok = !tss ? type == systype::ldt
                            : type == systype::tss32 || (type == systype::tss16 && !cpu.long_mode());
  if (d.segment() || !type_ok || (cpu.long_mode() && d.high >> 40 & 0x1f)) {
    cpu.raise(Vector::gp, error);
    return false;
  }
  if (!d.present()) {
    cpu.raise(Vector::np, error);
    return false;
  }
  return true;
}

/// Types that LAR (LSL: those with a limit) accepts among system descriptors (SDM vol. 2).
bool visible_system_type(unsigned type, bool limits_only, bool long_mode) {
  switch (type) {
    case systype::ldt: return true;
    case systype::tss16: case systype::tss16_busy: return !long_mode;
    case systype::tss32: case systype::tss32_busy: return true;
    case systype::call16: case systype::task_gate: return !limits_only && !long_mode;
    case systype::call32: return !limits_only;
    default: return false;
  }
}

enum class Probe : u8 { lar, lsl, verr, verw };

/// True in `visible` when the current level may see the descriptor in the way `what` asks.
bool probe(Cpu& cpu, u16 selector, Probe what, Descriptor& d, bool& visible) {
  visible = false;
  if (is_null(selector)) return true;
  bool found = false;
  if (!find_descriptor(cpu, selector, d, found)) return false;
  if (!found) return true;
  const bool level_ok = d.conforming() || (d.dpl() >= cpu.cpl() && d.dpl() >= rpl_of(selector));
  if (!level_ok) return true;
  switch (what) {
    case Probe::verr: visible = d.readable(); break;
    case Probe::verw: visible = d.writable_data(); break;
    default:
      visible = d.segment() || visible_system_type(d.type(), what == Probe::lsl, cpu.long_mode());
  }
  return true;
}

Step probe_to_register(Cpu& cpu, const Insn& i, Probe what) {
  if (!uses_descriptors(cpu)) return cpu.ud();
  u16 selector = 0;
  Descriptor d;
  bool visible = false;
  if (!source16(cpu, i, selector) || !probe(cpu, selector, what, d, visible)) return cpu.failed();
  set_zf(cpu, visible);
  if (visible)
    set_reg_sized(cpu, i.dst, bytes_of(i),
                  what == Probe::lar ? d.raw >> 32 & 0x00ff'ff00 : d.limit());
  return Step::next;
}

Step verify(Cpu& cpu, const Insn& i, Probe what) {
  if (!uses_descriptors(cpu)) return cpu.ud();
  u16 selector = 0;
  Descriptor d;
  bool visible = false;
  if (!source16(cpu, i, selector) || !probe(cpu, selector, what, d, visible)) return cpu.failed();
  set_zf(cpu, visible);
  return Step::next;
}

}  // namespace

Step h_lgdt(Cpu& cpu, const Insn& i) { return load_table(cpu, i, cpu.s.gdtr); }
Step h_lidt(Cpu& cpu, const Insn& i) { return load_table(cpu, i, cpu.s.idtr); }
Step h_sgdt(Cpu& cpu, const Insn& i) { return store_table(cpu, i, cpu.s.gdtr); }
Step h_sidt(Cpu& cpu, const Insn& i) { return store_table(cpu, i, cpu.s.idtr); }

Step h_lldt(Cpu& cpu, const Insn& i) {
  if (!uses_descriptors(cpu)) return cpu.ud();
  if (cpu.cpl() != 0) return cpu.gp0();
  u16 selector = 0;
  if (!source16(cpu, i, selector)) return cpu.failed();
  Segment& ldtr = cpu.s.seg[static_cast<u8>(Seg::ldtr)];
  if (is_null(selector)) {
    ldtr = null_segment(selector);
    return Step::next;
  }
  Descriptor d;
  if (!system_descriptor(cpu, selector, false, d)) return cpu.failed();
  ldtr = d.cache(selector, cpu.long_mode());
  return Step::next;
}

Step h_ltr(Cpu& cpu, const Insn& i) {
  if (!uses_descriptors(cpu)) return cpu.ud();
  if (cpu.cpl() != 0) return cpu.gp0();
  u16 selector = 0;
  if (!source16(cpu, i, selector)) return cpu.failed();
  if (is_null(selector)) return cpu.gp0();
  Descriptor d;
  if (!system_descriptor(cpu, selector, true, d)) return cpu.failed();
  d.raw |= bit(41);  // busy
  if (!cpu.write_system(d.la + 5, static_cast<u8>(d.raw >> 40))) return cpu.failed();
  cpu.s.seg[static_cast<u8>(Seg::tr)] = d.cache(selector, cpu.long_mode());
  return Step::next;
}

Step h_sldt(Cpu& cpu, const Insn& i) {
  if (!uses_descriptors(cpu)) return cpu.ud();
  return store16(cpu, i, cpu.s.seg[static_cast<u8>(Seg::ldtr)].selector);
}

Step h_str(Cpu& cpu, const Insn& i) {
  if (!uses_descriptors(cpu)) return cpu.ud();
  return store16(cpu, i, cpu.s.seg[static_cast<u8>(Seg::tr)].selector);
}

Step h_smsw(Cpu& cpu, const Insn& i) { return store16(cpu, i, cpu.s.cr0); }

Step h_lar(Cpu& cpu, const Insn& i) { return probe_to_register(cpu, i, Probe::lar); }
Step h_lsl(Cpu& cpu, const Insn& i) { return probe_to_register(cpu, i, Probe::lsl); }
Step h_verr(Cpu& cpu, const Insn& i) { return verify(cpu, i, Probe::verr); }
Step h_verw(Cpu& cpu, const Insn& i) { return verify(cpu, i, Probe::verw); }

Step h_arpl(Cpu& cpu, const Insn& i) {
  if (!uses_descriptors(cpu)) return cpu.ud();
  u16 to = cpu.reg<u16>(i.dst);
  if (i.ea != Ea::none && !cpu.load(i, to)) return cpu.failed();
  const u16 wanted = rpl_of(cpu.reg<u16>(i.src)) & 3;
  const bool raise_rpl = rpl_of(to) < wanted;
  if (raise_rpl) {
    to = static_cast<u16>((to & 0xfffc) | wanted);
    if (i.ea == Ea::none)
      cpu.set_reg<u16>(i.dst, to);
    else if (!cpu.store(i, to))
      return cpu.failed();
  }
  set_zf(cpu, raise_rpl);
  return Step::next;
}

}  // namespace bhyve::soft
