// RDMSR and WRMSR (SDM vol. 4): the registers the CPU core owns; all others go to the client.
#include "engine/soft/system/arch_capabilities.hpp"
#include "engine/soft/system/descriptor.hpp"
#include "engine/soft/system/system.hpp"
#include "x86/msr.hpp"

namespace bhyve::soft {

using x86::Seg;
namespace msr = x86::msr;

namespace {

/// Whether an MSR is the core's, and whether the access was allowed.
enum class Own : u8 { done, fault, other };

Own put(u64& to, u64 value, bool allowed) {
  if (!allowed) return Own::fault;
  to = value;
  return Own::done;
}

constexpr u32 microcode_revision = 0x2b00'0650;

// ---- machine check (SDM vol. 3, ch. 16): a few banks that never report anything -----------------
constexpr u64 mcg_cap_value = 4;  // banks; no MCG_CTL, no CMCI
constexpr u32 bank_registers = 4;  // CTL, STATUS, ADDR, MISC

bool in_bank(u32 number) {
  return number >= msr::mc0_ctl && number < msr::mc0_ctl + mcg_cap_value * bank_registers;
}
bool is_bank_control(u32 number) { return (number - msr::mc0_ctl) % bank_registers == 0; }

/// In CTL, errors are either all enabled or all disabled; what was reported can only be cleared.
Own write_bank(Cpu& cpu, u32 number, u64 value) {
  if (!is_bank_control(number)) return value ? Own::fault : Own::done;
  if (value != 0 && value != ~u64{0}) return Own::fault;
  const u64 mask = bit((number - msr::mc0_ctl) / bank_registers);
  cpu.s.mc_enabled = value ? cpu.s.mc_enabled | mask : cpu.s.mc_enabled & ~mask;
  return Own::done;
}
u64 read_bank(const Cpu& cpu, u32 number) {
  const bool enabled = cpu.s.mc_enabled >> (number - msr::mc0_ctl) / bank_registers & 1;
  return is_bank_control(number) && enabled ? ~u64{0} : 0;
}

// ---- MTRRs (SDM vol. 3, 12.11) ----------------------------------------------------------------
constexpr u64 mtrr_cap_value = 8 | bit(8) | bit(10);  // 8 variable pairs, fixed ranges, WC

bool memory_type_valid(u64 type) {
  return type == 0 || type == 1 || (type >= 4 && type <= 6);
}

/// The stored MTRR behind a number, or nullptr.
u64* mtrr_of(Cpu& cpu, u32 number) {
  engine::VcpuState& s = cpu.s;
  if (number >= msr::mtrr_physbase0 && number <= msr::mtrr_physmask7)
    return &s.mtrr_variable[number - msr::mtrr_physbase0];
  if (number == msr::mtrr_fix64k_00000) return &s.mtrr_fixed[0];
  if (number == msr::mtrr_fix16k_80000 || number == msr::mtrr_fix16k_a0000)
    return &s.mtrr_fixed[1 + number - msr::mtrr_fix16k_80000];
  if (number >= msr::mtrr_fix4k_c0000 && number <= msr::mtrr_fix4k_f8000)
    return &s.mtrr_fixed[3 + number - msr::mtrr_fix4k_c0000];
  return number == msr::mtrr_def_type ? &s.mtrr_def_type : nullptr;
}

bool mtrr_value_valid(const Cpu& cpu, u32 number, u64 value) {
  if (number == msr::mtrr_def_type)
    return !(value & ~u64{0xcff}) && memory_type_valid(value & 0xff);
  if (number <= msr::mtrr_physmask7) {
    if (value >> cpu.model().physical_bits()) return false;
    if (number & 1) return !(value & 0x7ff);
    return !(value & 0xf00) && memory_type_valid(value & 0xff);
  }
  for (unsigned n = 0; n < 64; n += 8)
    if (!memory_type_valid(value >> n & 0xff)) return false;
  return true;
}

bool pat_valid(u64 value) {
  for (unsigned n = 0; n < 64; n += 8) {
    const u64 type = value >> n & 0xff;
    if (!memory_type_valid(type) && type != 7) return false;
  }
  return true;
}

// ---- registers that are a field of the state --------------------------------------------------
struct Plain {
  u64* field = nullptr;
  bool canonical = false;
};

Plain plain_of(Cpu& cpu, u32 number) {
  engine::VcpuState& s = cpu.s;
  switch (number) {
    case msr::star: return {&s.star};
    case msr::lstar: return {&s.lstar, true};
    case msr::cstar: return {&s.cstar, true};
    case msr::sysenter_cs: return {&s.sysenter_cs};
    case msr::sysenter_esp: return {&s.sysenter_esp, true};
    case msr::sysenter_eip: return {&s.sysenter_eip, true};
    case msr::kernel_gs_base: return {&s.fs_kernel_gs_base, true};
    default: return {};
  }
}

Own write_base(Cpu& cpu, Seg seg, u64 value) {
  if (!x86::is_canonical(value)) return Own::fault;
  cpu.s.seg[static_cast<u8>(seg)].base = value;
  cpu.seg_base[static_cast<u8>(seg)] = value;
  return Own::done;
}

Own write_efer(Cpu& cpu, u64 value) {
  using namespace x86::efer;
  const u64 old = cpu.s.efer;
  const bool nx = cpu.model().has(CpuModel::Feature::nx) &&
                  (!(cpu.s.misc_enable & msr::misc::no_nx) || old & nxe);
  const u64 allowed = nx ? defined : defined & ~nxe;
  if (value & ~allowed) return Own::fault;
  if ((old ^ value) & lme && cpu.s.cr0 & x86::cr0::pg) return Own::fault;
  cpu.s.efer = (value & ~lma) | (old & lma);  // LMA is read-only: writes are ignored
  if ((old ^ cpu.s.efer) & nxe) cpu.flush_tlb(false);
  cpu.update_mode();
  return Own::done;
}

/// Moves the TSC by `delta`: both the offset and what TSC_ADJUST shows (SDM vol. 3, 18.17.3).
void move_tsc(Cpu& cpu, u64 delta) {
  cpu.s.tsc_offset += delta;
  cpu.s.tsc_adjust += delta;
  cpu.leave().tsc_written(cpu.id(), cpu.s.tsc_offset);
}

Own read_own(Cpu& cpu, u32 number, u64& v) {
  if (const Plain p = plain_of(cpu, number); p.field) return v = *p.field, Own::done;
  if (const u64* mtrr = mtrr_of(cpu, number)) return v = *mtrr, Own::done;
  const auto give = [&v](u64 value) { return v = value, Own::done; };
  if (in_bank(number)) return give(read_bank(cpu, number));
  switch (number) {
    case msr::tsc: return give(cpu.guest_tsc());
    case msr::tsc_adjust: return give(cpu.s.tsc_adjust);
    case msr::tsc_aux: return give(cpu.s.tsc_aux);
    case msr::efer: return give(cpu.s.efer);
    case msr::fs_base: return give(cpu.s.seg[static_cast<u8>(Seg::fs)].base);
    case msr::gs_base: return give(cpu.s.seg[static_cast<u8>(Seg::gs)].base);
    case msr::sfmask: return give(cpu.s.sfmask);
    case msr::pat: return give(cpu.s.pat);
    case msr::mtrr_cap: return give(mtrr_cap_value);
    case msr::misc_enable: return give(cpu.s.misc_enable | msr::misc::fixed);
    case msr::bios_sign_id: return give(u64{microcode_revision} << 32);
    case msr::arch_capabilities: return give(arch_capabilities);
    case msr::spec_ctrl: return give(cpu.s.spec_ctrl);
    case msr::feature_control: return give(1);  // locked, neither VMX nor SMX
    case msr::xss: return cpu.model().has(CpuModel::Feature::xsaves) ? give(cpu.s.xss) : Own::fault;
    case msr::mcg_cap: return give(mcg_cap_value);
    case msr::p5_mc_addr: case msr::p5_mc_type: case msr::platform_id: case msr::mcg_status:
    case msr::debugctl: return give(0);
    case msr::pred_cmd: case msr::flush_cmd: case msr::bios_updt_trig: case msr::mcg_ctl:
      return Own::fault;
    default: return Own::other;
  }
}

Own write_own(Cpu& cpu, u32 number, u64 v) {
  if (const Plain p = plain_of(cpu, number); p.field)
    return put(*p.field, v, !p.canonical || x86::is_canonical(v));
  if (u64* mtrr = mtrr_of(cpu, number)) return put(*mtrr, v, mtrr_value_valid(cpu, number, v));
  if (in_bank(number)) return write_bank(cpu, number, v);
  const auto only = [v](u64 mask) { return v & ~mask ? Own::fault : Own::done; };
  switch (number) {
    case msr::tsc: move_tsc(cpu, v - cpu.guest_tsc()); return Own::done;
    case msr::tsc_adjust: move_tsc(cpu, v - cpu.s.tsc_adjust); return Own::done;
    case msr::tsc_aux: return put(cpu.s.tsc_aux, v, !(v >> 32));
    case msr::efer: return write_efer(cpu, v);
    case msr::fs_base: return write_base(cpu, Seg::fs, v);
    case msr::gs_base: return write_base(cpu, Seg::gs, v);
    case msr::sfmask: return put(cpu.s.sfmask, v, !(v >> 32));
    case msr::pat: return put(cpu.s.pat, v, pat_valid(v));
    case msr::misc_enable:
      return put(cpu.s.misc_enable, v & msr::misc::writable,
                 !(v & ~(msr::misc::writable | msr::misc::read_only)));
    case msr::spec_ctrl: {
      constexpr u64 ibrs = bit(0), stibp = bit(1), bhi_dis_s = bit(10);
      return put(cpu.s.spec_ctrl, v, !(v & ~(ibrs | stibp | bhi_dis_s)));
    }
    case msr::pred_cmd: return only(1);  // IBPB: nothing of ours is predicted per guest context
    case msr::xss:
      return put(cpu.s.xss, v, v == 0 && cpu.model().has(CpuModel::Feature::xsaves));
    case msr::bios_sign_id: case msr::bios_updt_trig: return Own::done;
    case msr::p5_mc_addr: case msr::p5_mc_type: case msr::mcg_status: case msr::debugctl:
      return only(0);
    case msr::flush_cmd: case msr::arch_capabilities: case msr::platform_id: case msr::mcg_cap:
    case msr::mcg_ctl: case msr::mtrr_cap: case msr::feature_control: return Own::fault;
    default: return Own::other;
  }
}

/// MSRs outside the core. `value` in and out; what to return comes back.
Step outside(Cpu& cpu, const Insn& i, u32 number, u64& value, Dir dir) {
  bool fault = false;
  if (cpu.take_msr_answer(number, dir, value, fault)) return fault ? cpu.gp0() : Step::next;
  switch (cpu.leave().msr(cpu.id(), number, value, dir)) {
    case engine::Client::Access::done:
      if (number == msr::apic_base && dir == Dir::write) cpu.sync_apic_page();
      return Step::next;
    case engine::Client::Access::fault: return cpu.gp0();
    case engine::Client::Access::exit: break;
  }
  engine::Exit& exit = cpu.exit_record();
  exit.rip = cpu.rip_of(i);
  exit.inst_length = i.length;
  exit.msr = {number, dir == Dir::read ? 0 : value, false};
  return cpu.leave_with(dir == Dir::read ? abi::ExitCode::rdmsr : abi::ExitCode::wrmsr);
}

}  // namespace

Step h_rdmsr(Cpu& cpu, const Insn& i) {
  if (cpu.cpl() != 0) return cpu.gp0();
  ++cpu.counters.rdmsr;
  u64 value = 0;
  switch (read_own(cpu, ecx_of(cpu), value)) {
    case Own::done: break;
    case Own::fault: return cpu.gp0();
    case Own::other:
      if (const Step s = outside(cpu, i, ecx_of(cpu), value, Dir::read); s != Step::next) return s;
  }
  set_edx_eax(cpu, value);
  return Step::next;
}

Step h_wrmsr(Cpu& cpu, const Insn& i) {
  if (cpu.cpl() != 0) return cpu.gp0();
  ++cpu.counters.wrmsr;
  u64 value = edx_eax(cpu);
  switch (write_own(cpu, ecx_of(cpu), value)) {
    case Own::done: break;
    case Own::fault: return cpu.gp0();
    case Own::other:
      if (const Step s = outside(cpu, i, ecx_of(cpu), value, Dir::write); s != Step::next) return s;
      // The local APIC may have something to deliver now (x2APIC writes, TSC deadline).
  }
  return cpu.finish(i);
}

}  // namespace bhyve::soft
