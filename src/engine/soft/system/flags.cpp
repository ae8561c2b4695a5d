// Instructions on RFLAGS that depend on privilege, and the small helpers of system.hpp.
#include "engine/soft/system/system.hpp"

namespace bhyve::soft {

namespace rfl = x86::rflags;

bool read_sized(Cpu& cpu, u64 la, unsigned size, u64& v, x86::Seg seg) {
  const auto narrow = [&]<class T>(T) {
    T value{};
    if (!cpu.read(la, value, seg)) return false;
    v = value;
    return true;
  };
  switch (size) {
    case 1: return narrow(u8{});
    case 2: return narrow(u16{});
    case 4: return narrow(u32{});
    default: return narrow(u64{});
  }
}

bool write_sized(Cpu& cpu, u64 la, unsigned size, u64 v, x86::Seg seg) {
  switch (size) {
    case 1: return cpu.write(la, static_cast<u8>(v), seg);
    case 2: return cpu.write(la, static_cast<u16>(v), seg);
    case 4: return cpu.write(la, static_cast<u32>(v), seg);
    default: return cpu.write(la, v, seg);
  }
}

void set_reg_sized(Cpu& cpu, u8 slot_offset, unsigned size, u64 v) {
  switch (size) {
    case 1: cpu.set_reg(slot_offset, static_cast<u8>(v)); break;
    case 2: cpu.set_reg(slot_offset, static_cast<u16>(v)); break;
    case 4: cpu.set_reg(slot_offset, static_cast<u32>(v)); break;
    default: cpu.set_reg(slot_offset, v); break;
  }
}

namespace {

enum class IfRights : u8 { real_if, virtual_if, none };

/// Which flag CLI and STI act on (SDM vol. 2, table 3-7).
IfRights if_rights(const Cpu& cpu) {
  if (cpu.cpl() <= iopl(cpu)) return IfRights::real_if;  // covers real mode and V86 with IOPL 3
  const u64 enable = cpu.v86_mode() ? x86::cr4::vme : x86::cr4::pvi;
  if (cpu.cpl() == 3 && cpu.s.cr4 & enable) return IfRights::virtual_if;
  return IfRights::none;
}

/// Sets RFLAGS and ends the block when anything but the arithmetic flags, DF, NT and ID changed.
Step change_flags(Cpu& cpu, const Insn& i, u64 old_flags, u64 new_flags) {
  cpu.set_rflags(new_flags);
  constexpr u64 quiet = rfl::arithmetic | rfl::df | rfl::nt | rfl::id | rfl::rf | rfl::iopl |
                        rfl::vif | rfl::vip;
  if (!((old_flags ^ new_flags) & ~quiet)) return Step::next;
  if ((old_flags ^ new_flags) & (rfl::ac | rfl::tf)) cpu.update_mode();
  return cpu.finish(i);
}

}  // namespace

Step h_cli(Cpu& cpu, const Insn&) {
  switch (if_rights(cpu)) {
    case IfRights::real_if: cpu.sysflags &= ~rfl::if_; return Step::next;
    case IfRights::virtual_if: cpu.sysflags &= ~rfl::vif; return Step::next;
    default: return cpu.gp0();
  }
}

Step h_sti(Cpu& cpu, const Insn& i) {
  switch (if_rights(cpu)) {
    case IfRights::real_if:
      if (cpu.interrupts_enabled()) return Step::next;
      cpu.set_rflags(cpu.rflags() | rfl::if_);
      cpu.set_interrupt_shadow();
      return cpu.finish(i);
    case IfRights::virtual_if:
      if (cpu.sysflags & rfl::vip) return cpu.gp0();
      cpu.sysflags |= rfl::vif;
      return Step::next;
    default: return cpu.gp0();
  }
}

Step h_pushf(Cpu& cpu, const Insn& i) {
  u64 image = cpu.rflags() & ~(rfl::rf | rfl::vm);
  if (cpu.v86_mode() && iopl(cpu) < 3) {
    if (!(cpu.s.cr4 & x86::cr4::vme) || i.size != 1) return cpu.gp0();
    image = (image | rfl::iopl) & ~rfl::if_;
    if (cpu.sysflags & rfl::vif) image |= rfl::if_;
  }
  return cpu.push(image, bytes_of(i)) ? Step::next : cpu.failed();
}

Step h_popf(Cpu& cpu, const Insn& i) {
  const bool virtual_if = cpu.v86_mode() && iopl(cpu) < 3;
  if (virtual_if && (!(cpu.s.cr4 & x86::cr4::vme) || i.size != 1)) return cpu.gp0();
  u64 image = 0;
  if (!cpu.peek(image, bytes_of(i))) return cpu.failed();
  u64 mask = rfl::arithmetic | rfl::tf | rfl::df | rfl::nt;
  if (i.size != 1) mask |= rfl::ac | rfl::id;
  if (virtual_if) {
    if (image & rfl::tf || (image & rfl::if_ && cpu.sysflags & rfl::vip)) return cpu.gp0();
    if (image & rfl::if_) image |= rfl::vif;
    mask |= rfl::vif;
  } else {
    if (cpu.cpl() <= iopl(cpu)) mask |= rfl::if_;
    if (cpu.cpl() == 0) mask |= rfl::iopl;
  }
  cpu.adjust_sp(bytes_of(i));
  const u64 old_flags = cpu.rflags();
  return change_flags(cpu, i, old_flags, ((old_flags & ~mask) | (image & mask)) & ~rfl::rf);
}

// STAC and CLAC change which TLB data accesses use, which takes effect at once: the block goes on.
Step h_stac(Cpu& cpu, const Insn&) {
  if (!cpu.model().has(CpuModel::Feature::smap) || cpu.cpl() != 0) return cpu.ud();
  cpu.sysflags |= rfl::ac;
  cpu.update_mode();
  return Step::next;
}

Step h_clac(Cpu& cpu, const Insn&) {
  if (!cpu.model().has(CpuModel::Feature::smap) || cpu.cpl() != 0) return cpu.ud();
  cpu.sysflags &= ~rfl::ac;
  cpu.update_mode();
  return Step::next;
}

}  // namespace bhyve::soft
