// Control and debug registers, XCR0, TLB and cache maintenance, HLT (SDM vol. 3, ch. 2, 4.10, 18.2).
#include "engine/soft/system/system.hpp"

namespace bhyve::soft {

using x86::Gpr;
using x86::Seg;
using x86::Segment;

namespace {

constexpr u64 paging_bits = x86::cr0::pg | x86::cr0::wp | x86::cr0::pe;

/// Consistency rules of a CR0 value (SDM vol. 3, 2.5, 10.8.5). `efer` comes out with LMA.
bool cr0_allowed(const Cpu& cpu, u64 value, u64& efer) {
  using namespace x86::cr0;
  const bool paging = value & pg, was_paging = cpu.s.cr0 & pg;
  if ((paging && !(value & pe)) || (value & nw && !(value & cd))) return false;
  const Segment& cs = cpu.s.seg[static_cast<u8>(Seg::cs)];
  if (paging && !was_paging && efer & x86::efer::lme) {
    const unsigned tss = cpu.s.seg[static_cast<u8>(Seg::tr)].access & 0xf;
    if (!(cpu.s.cr4 & x86::cr4::pae) || cs.access & Segment::long_mode || tss == 1 || tss == 3)
      return false;
    efer |= x86::efer::lma;
  }
  if (!paging && was_paging) {
    if (cpu.code64() || cpu.s.cr4 & x86::cr4::pcide) return false;
    efer &= ~x86::efer::lma;
  }
  return true;
}

/// Loads the PDPTE registers when `changed` bits of a control register ask for it and the CPU is in
/// PAE paging, as it will be: `cr0`, `cr4`, `efer` are the new values. False: failed().
bool reload_pdptes(Cpu& cpu, u64 changed, u64 cr0, u64 cr4, u64 efer) {
  const bool pae = cr0 & x86::cr0::pg && cr4 & x86::cr4::pae && !(efer & x86::efer::lma);
  return !changed || !pae || cpu.load_pdptes(cpu.s.cr3);
}

bool refuse(Cpu& cpu) {
  cpu.gp0();
  return false;
}

/// Writes CR0 after all checks. False: failed().
bool set_cr0(Cpu& cpu, u64 value) {
  value = (value & x86::cr0::defined) | x86::cr0::et;
  u64 efer = cpu.s.efer;
  if (!cr0_allowed(cpu, value, efer)) return refuse(cpu);
  const u64 changed = cpu.s.cr0 ^ value;
  constexpr u64 reloads = x86::cr0::cd | x86::cr0::nw | x86::cr0::pg;
  if (!reload_pdptes(cpu, changed & reloads, value, cpu.s.cr4, efer)) return false;
  // TS and EM decide whether vector instructions run; a live state stays correct either way.
  cpu.s.cr0 = value;
  cpu.s.efer = efer;
  if (changed & x86::cr0::pe) {
    cpu.set_cpl(0);
    // Real-mode segments become data segments of level 0 and the other way round; bases stay.
    if (value & x86::cr0::pe) cpu.s.seg[static_cast<u8>(Seg::cs)].access &= ~Segment::long_mode;
  }
  if (changed & paging_bits) cpu.flush_tlb(false);
  cpu.update_mode();
  return true;
}

bool set_cr3(Cpu& cpu, u64 value) {
  const bool pcids = cpu.s.cr4 & x86::cr4::pcide;
  const bool no_flush = pcids && value & x86::cr3::no_flush;
  if (no_flush) value &= ~x86::cr3::no_flush;
  if (cpu.long_mode()) {
    if (value >> cpu.model().physical_bits()) return refuse(cpu);
  } else {
    value = static_cast<u32>(value);
    if (cpu.pae_paging() && !cpu.load_pdptes(value)) return false;
  }
  cpu.s.cr3 = value;
  cpu.new_address_space(no_flush);
  return true;
}

bool set_cr4(Cpu& cpu, u64 value) {
  using namespace x86::cr4;
  const u64 old = cpu.s.cr4, changed = old ^ value;
  if (value & ~cpu.model().cr4_supported()) return refuse(cpu);
  if (cpu.long_mode() && !(value & pae)) return refuse(cpu);
  if (changed & value & pcide && (!cpu.long_mode() || cpu.s.cr3 & x86::cr3::pcid_mask))
    return refuse(cpu);
  if (!reload_pdptes(cpu, changed & (pae | pge | pse | smep), cpu.s.cr0, value, cpu.s.efer))
    return false;
  cpu.s.cr4 = value;
  if (changed & (pge | pse | pae | pcide | smep | smap)) cpu.flush_tlb(false);
  cpu.update_mode();
  return true;
}

/// DR4 and DR5 are names of DR6 and DR7 unless CR4.DE is set; DR7.GD makes any access a #DB.
bool debug_access(Cpu& cpu, unsigned& number) {
  if (number == 4 || number == 5) {
    if (cpu.s.cr4 & x86::cr4::de) {
      cpu.ud();
      return false;
    }
    number += 2;
  }
  if (cpu.cpl() != 0) {
    cpu.gp0();
    return false;
  }
  if (cpu.s.dr7 & x86::dr::dr7_gd) {
    cpu.s.dr6 = (cpu.s.dr6 & ~x86::dr::dr6_hits) | x86::dr::dr6_bd;
    cpu.raise(x86::Vector::db);
    return false;
  }
  return true;
}

}  // namespace

Step h_read_cr(Cpu& cpu, const Insn& i) {
  if (cpu.cpl() != 0) return cpu.gp0();
  ++cpu.counters.cr_access;
  u64 value = 0;
  switch (i.misc) {
    case 0: value = cpu.s.cr0; break;
    case 2: value = cpu.s.cr2; break;
    case 3: value = cpu.s.cr3; break;
    case 4: value = cpu.s.cr4; break;
    case 8: value = cpu.leave().cr8(cpu.id()) & 0xf; break;
    default: return cpu.ud();
  }
  set_reg_sized(cpu, i.dst, cpu.code64() ? 8 : 4, value);
  return Step::next;
}

Step h_write_cr(Cpu& cpu, const Insn& i) {
  if (cpu.cpl() != 0) return cpu.gp0();
  ++cpu.counters.cr_access;
  const u64 value = low_bytes(cpu.reg<u64>(i.src), cpu.code64() ? 8 : 4);
  bool ok = true;
  switch (i.misc) {
    case 0: ok = value >> 32 ? refuse(cpu) : set_cr0(cpu, value); break;
    case 2: cpu.s.cr2 = value; return Step::next;
    case 3: ok = set_cr3(cpu, value); break;
    case 4: ok = set_cr4(cpu, value); break;
    case 8:
      if (value > 15) return cpu.gp0();
      cpu.leave().set_cr8(cpu.id(), static_cast<u8>(value));
      cpu.request_check();
      break;
    default: return cpu.ud();
  }
  return ok ? cpu.finish(i) : cpu.failed();
}

Step h_read_dr(Cpu& cpu, const Insn& i) {
  unsigned number = i.misc;
  if (!debug_access(cpu, number)) return cpu.failed();
  const u64 value = number < 4 ? cpu.s.dr[number] : number == 6 ? cpu.s.dr6 : cpu.s.dr7;
  set_reg_sized(cpu, i.dst, cpu.code64() ? 8 : 4, value);
  return Step::next;
}

Step h_write_dr(Cpu& cpu, const Insn& i) {
  unsigned number = i.misc;
  if (!debug_access(cpu, number)) return cpu.failed();
  const u64 value = low_bytes(cpu.reg<u64>(i.src), cpu.code64() ? 8 : 4);
  if (number >= 6 && value >> 32) return cpu.gp0();
  switch (number) {
    case 6: cpu.s.dr6 = (value & 0xe00f) | x86::dr::dr6_reset; break;
    case 7: cpu.s.dr7 = (value & 0xffff'27ff) | x86::dr::dr7_reset; break;
    default: cpu.s.dr[number] = value; break;
  }
  cpu.update_mode();
  return cpu.finish(i);
}

Step h_lmsw(Cpu& cpu, const Insn& i) {
  if (cpu.cpl() != 0) return cpu.gp0();
  u16 value = cpu.reg<u16>(i.src);
  if (i.ea != Ea::none && !cpu.load(i, value)) return cpu.failed();
  // Only PE, MP, EM and TS, and PE is never cleared (SDM vol. 2, LMSW).
  const u64 merged = (cpu.s.cr0 & ~u64{0xe}) | (value & 0xf);
  return set_cr0(cpu, merged) ? cpu.finish(i) : cpu.failed();
}

Step h_clts(Cpu& cpu, const Insn& i) {
  if (cpu.cpl() != 0) return cpu.gp0();
  cpu.s.cr0 &= ~x86::cr0::ts;
  cpu.update_mode();
  return cpu.finish(i);
}

Step h_xgetbv(Cpu& cpu, const Insn&) {
  if (!(cpu.s.cr4 & x86::cr4::osxsave)) return cpu.ud();
  const u32 number = ecx_of(cpu);
  if (number == 0) {
    set_edx_eax(cpu, cpu.s.xcr0);
    return Step::next;
  }
  if (number != 1 || !cpu.model().has(CpuModel::Feature::xgetbv1)) return cpu.gp0();
  // XINUSE: claiming "in use" is always allowed (SDM vol. 1, 13.6).
  set_edx_eax(cpu, cpu.s.xcr0);
  return Step::next;
}

Step h_xsetbv(Cpu& cpu, const Insn& i) {
  using namespace x86::xcr0;
  if (!(cpu.s.cr4 & x86::cr4::osxsave)) return cpu.ud();
  const u64 value = edx_eax(cpu);
  const bool avx512_partly = value & avx512 && (value & avx512) != avx512;
  if (cpu.cpl() != 0 || ecx_of(cpu) != 0 || !(value & x87) ||
      value & ~cpu.model().xcr0_supported() || (value & avx && !(value & sse)) || avx512_partly ||
      (value & avx512 && !(value & avx)))
    return cpu.gp0();
  cpu.leave();  // the state is parked under the old mask
  cpu.s.xcr0 = value;
  cpu.update_mode();
  return cpu.finish(i);
}

Step h_invlpg(Cpu& cpu, const Insn& i) {
  if (cpu.cpl() != 0) return cpu.gp0();
  u64 la = cpu.effective_address(i) + cpu.seg_base[i.base_seg];
  if (!cpu.code64()) la = static_cast<u32>(la);
  if (x86::is_canonical(la)) cpu.flush_tlb_page(Gva(la));
  return cpu.finish(i);
}

Step h_invpcid(Cpu& cpu, const Insn& i) {
  if (!cpu.invpcid_enabled || !cpu.model().has(CpuModel::Feature::invpcid) || cpu.real_mode())
    return cpu.ud();
  if (cpu.cpl() != 0) return cpu.gp0();
  const Seg seg = static_cast<Seg>(+i.seg);
  const u64 type = low_bytes(cpu.reg<u64>(i.src), cpu.code64() ? 8 : 4);
  u64 la = 0, pcid = 0, address = 0;
  if (!cpu.linear(i, 16, false, la) || !cpu.read(la, pcid, seg) ||
      !cpu.read(la + 8, address, seg))
    return cpu.failed();
  const bool pcids = cpu.s.cr4 & x86::cr4::pcide;
  if (type > 3 || pcid >> 12 || (type < 2 && !pcids && pcid != 0) ||
      (type == 0 && !x86::is_canonical(address)))
    return cpu.gp0();
  if (type == 0 && (!pcids || pcid == (cpu.s.cr3 & x86::cr3::pcid_mask)))
    cpu.flush_tlb_page(Gva(address));
  else if (type < 2)
    cpu.flush_tlb_pcid(pcid);
  else
    cpu.flush_tlb(type != 2);
  return cpu.finish(i);
}

Step h_privileged_nop(Cpu& cpu, const Insn& i) { return cpu.cpl() ? cpu.gp0() : cpu.finish(i); }

Step h_cache_line(Cpu& cpu, const Insn& i) {
  // Caches are coherent: only the faults of a one-byte read remain (SDM vol. 2, CLFLUSH).
  u64 la = 0;
  Gpa gpa;
  if (!cpu.linear(i, 1, false, la)) return cpu.failed();
  if (cpu.long_mode() && !x86::is_canonical(la))
    return cpu.raise(static_cast<Seg>(+i.seg) == Seg::ss ? x86::Vector::ss : x86::Vector::gp, 0);
  return cpu.translate(la, mem::Prot::read, cpu.cpl() == 3, gpa) ? Step::next : cpu.failed();
}

Step h_hlt(Cpu& cpu, const Insn& i) {
  if (cpu.cpl() != 0) return cpu.gp0();
  cpu.finish(i);
  cpu.s.halted = true;
  cpu.exit_record().hlt.interrupts_enabled = cpu.interrupts_enabled();
  cpu.exit_record().rip = cpu.rip;
  cpu.exit_record().inst_length = 0;
  return cpu.leave_with(abi::ExitCode::hlt);
}

}  // namespace bhyve::soft
