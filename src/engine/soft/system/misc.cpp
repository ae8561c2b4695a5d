// CPUID, time stamps, random numbers, PAUSE.
#include <sched.h>

#include "engine/soft/system/system.hpp"
#include "x86/msr.hpp"

namespace bhyve::soft {

using x86::Gpr;
using Feature = CpuModel::Feature;

namespace {

/// Size of the XSAVE area for components `mask`: standard format, or compacted (SDM vol. 1, 13.4).
u32 xsave_bytes(const CpuModel& model, u64 mask, bool compacted) {
  u32 end = 576;
  for (unsigned n = 2; n < 63; ++n) {
    if (!(mask >> n & 1)) continue;
    const CpuModel::Leaf c = model.cpuid(0xd, n);
    if (!compacted) {
      end = c.ebx + c.eax > end ? c.ebx + c.eax : end;
      continue;
    }
    if (c.ecx & 2) end = (end + 63) & ~u32{63};
    end += c.eax;
  }
  return end;
}

constexpr u32 limited_leaves = 2;
bool cpuid_limited(const Cpu& cpu) { return cpu.s.misc_enable & x86::msr::misc::limit_cpuid; }

/// Adds what depends on the state of this vCPU.
void add_dynamic(Cpu& cpu, u32 function, u32 index, CpuModel::Leaf& leaf) {
  const auto clear = [](u32& word, unsigned n) { word &= ~(1u << n); };
  switch (function) {
    case 0:
      if (cpuid_limited(cpu)) leaf.eax = limited_leaves;
      break;
    case 1:
      leaf.ebx |= cpu.id() << 24;
      if (cpu.s.cr4 & x86::cr4::osxsave) leaf.ecx |= 1u << 27;
      if (!cpu.leave().apic_enabled(cpu.id())) clear(leaf.edx, 9);
      break;
    case 7:
      if (index != 0) break;
      if (!cpu.invpcid_enabled) clear(leaf.ebx, 10);
      if (!cpu.rdpid_enabled) clear(leaf.ecx, 22);
      break;
    case 0xb:
    case 0x1f: leaf.edx = cpu.id(); break;
    case 0xd:
      if (index == 0 && leaf.eax) leaf.ebx = xsave_bytes(cpu.model(), cpu.s.xcr0, false);
      if (index == 1 && leaf.eax & 0xa)
        leaf.ebx = xsave_bytes(cpu.model(), cpu.s.xcr0 | cpu.s.xss, true);
      break;
    case 0x8000'0001:
      if (!cpu.rdtscp_enabled) clear(leaf.edx, 27);
      if (cpu.s.misc_enable & x86::msr::misc::no_nx) clear(leaf.edx, 20);
      if (!cpu.code64()) clear(leaf.edx, 11);  // Intel: SYSCALL is told in 64-bit mode only
      break;
    default: break;
  }
}

bool tsc_forbidden(const Cpu& cpu) { return cpu.s.cr4 & x86::cr4::tsd && cpu.cpl() != 0; }

/// Stores a random number and the flags of RDRAND: CF tells success, the others are 0.
Step store_random(Cpu& cpu, const Insn& i, u64 value, bool ok) {
  set_reg_sized(cpu, i.dst, bytes_of(i), ok ? value : 0);
  cpu.flags = static_cast<PackedFlags>(packed_fixed | (ok ? packed_cf : 0));
  return Step::next;
}

}  // namespace

Step h_ud(Cpu& cpu, const Insn&) { return cpu.ud(); }
Step h_nop(Cpu&, const Insn&) { return Step::next; }

Step h_cpuid(Cpu& cpu, const Insn& i) {
  ++cpu.counters.cpuid;
  u32 function = static_cast<u32>(cpu.r(Gpr::rax));
  const u32 index = ecx_of(cpu);
  // Beyond the last leaf is the last one (SDM vol. 2, CPUID).
  if (cpuid_limited(cpu) && function > limited_leaves && function < 0x4000'0000)
    function = limited_leaves;
  CpuModel::Leaf leaf = cpu.model().cpuid(function, index);
  add_dynamic(cpu, cpu.model().effective_function(function), index, leaf);
  cpu.r(Gpr::rax) = leaf.eax;
  cpu.r(Gpr::rbx) = leaf.ebx;
  cpu.r(Gpr::rcx) = leaf.ecx;
  cpu.r(Gpr::rdx) = leaf.edx;
  return cpu.finish(i);  // serializing: code that another CPU changed is fetched anew
}

Step h_rdtsc(Cpu& cpu, const Insn&) {
  if (tsc_forbidden(cpu)) return cpu.gp0();
  u64 tsc;
  if (!cpu.read_clock(tsc)) return Step::repeat;
  set_edx_eax(cpu, tsc);
  return Step::next;
}

Step h_rdtscp(Cpu& cpu, const Insn&) {
  if (!cpu.rdtscp_enabled || !cpu.model().has(Feature::rdtscp)) return cpu.ud();
  if (tsc_forbidden(cpu)) return cpu.gp0();
  u64 tsc;
  if (!cpu.read_clock(tsc)) return Step::repeat;
  set_edx_eax(cpu, tsc);
  cpu.r(Gpr::rcx) = static_cast<u32>(cpu.s.tsc_aux);
  return Step::next;
}

Step h_rdpid(Cpu& cpu, const Insn& i) {
  if (!cpu.rdpid_enabled || !cpu.model().has(Feature::rdpid)) return cpu.ud();
  set_reg_sized(cpu, i.dst, cpu.code64() ? 8 : 4, static_cast<u32>(cpu.s.tsc_aux));
  return Step::next;
}

Step h_rdpmc(Cpu& cpu, const Insn&) { return cpu.gp0(); }  // leaf 0Ah: there is no counter

Step h_rdrand(Cpu& cpu, const Insn& i) {
  if (!cpu.model().has(Feature::rdrand)) return cpu.ud();
  u64 value = 0;
  bool ok = false;
  asm volatile("rdrand %0" : "=r"(value), "=@ccc"(ok));
  return store_random(cpu, i, value, ok);
}

Step h_rdseed(Cpu& cpu, const Insn& i) {
  if (!cpu.model().has(Feature::rdseed)) return cpu.ud();
  u64 value = 0;
  bool ok = false;
  asm volatile("rdseed %0" : "=r"(value), "=@ccc"(ok));
  return store_random(cpu, i, value, ok);
}

Step h_pause(Cpu& cpu, const Insn& i) {
  engine::Exit& exit = cpu.exit_record();
  const bool again = exit.code == abi::ExitCode::pause && exit.rip == cpu.rip_of(i);
  if (!cpu.pause_exit || again) {
    if (again) exit.code = abi::ExitCode::bogus;  // the exit was taken: now it completes
    asm volatile("pause");
    if (cpu.pause_loop.has_spun(__builtin_ia32_rdtsc())) ::sched_yield();
    return Step::next;
  }
  exit.rip = cpu.rip_of(i);
  return cpu.leave_with(abi::ExitCode::pause);
}

Step h_serialize(Cpu& cpu, const Insn& i) {
  if (!cpu.model().has(Feature::serialize)) return cpu.ud();
  return cpu.finish(i);
}

}  // namespace bhyve::soft
