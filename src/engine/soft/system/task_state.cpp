#include "engine/soft/system/task_state.hpp"

namespace bhyve::soft {

namespace {

// Offsets of the 32-bit TSS (SDM vol. 3, figure 7-2) and of the 16-bit one (figure 7-10). Fields
// that follow each other: EIP, EFLAGS, eight registers, the segment selectors, LDT.
constexpr unsigned cr3_32 = 28, eip_32 = 32, selectors_32 = 72, ldt_32 = 96, trap_32 = 100;
constexpr unsigned ip_16 = 14, selectors_16 = 34, ldt_16 = 42;
constexpr unsigned segments_16 = 4;  // no FS and GS

bool read32(Cpu& cpu, u64 base, TaskState& out) {
  u16 trap = 0;
  if (!cpu.read_system(base + cr3_32, out.cr3) || !cpu.read_system(base + eip_32, out.eip) ||
      !cpu.read_system(base + eip_32 + 4, out.eflags) ||
      !cpu.read_system(base + ldt_32, out.ldt) || !cpu.read_system(base + trap_32, trap))
    return false;
  out.trap = trap & 1;
  for (unsigned n = 0; n < out.gpr.size(); ++n)
    if (!cpu.read_system(base + eip_32 + 8 + 4 * n, out.gpr[n])) return false;
  for (unsigned n = 0; n < out.selector.size(); ++n)
    if (!cpu.read_system(base + selectors_32 + 4 * n, out.selector[n])) return false;
  return true;
}

bool read16(Cpu& cpu, u64 base, TaskState& out) {
  const auto word = [&](unsigned offset, u32& v) {
    u16 narrow = 0;
    if (!cpu.read_system(base + offset, narrow)) return false;
    v = narrow;
    return true;
  };
  if (!word(ip_16, out.eip) || !word(ip_16 + 2, out.eflags) ||
      !cpu.read_system(base + ldt_16, out.ldt))
    return false;
  for (unsigned n = 0; n < out.gpr.size(); ++n)
    if (!word(ip_16 + 4 + 2 * n, out.gpr[n])) return false;
  for (unsigned n = 0; n < segments_16; ++n)
    if (!cpu.read_system(base + selectors_16 + 2 * n, out.selector[n])) return false;
  return true;
}

}  // namespace

bool read_task(Cpu& cpu, u64 base, bool wide, TaskState& out) {
  return wide ? read32(cpu, base, out) : read16(cpu, base, out);
}

bool write_task(Cpu& cpu, u64 base, bool wide, const TaskState& task) {
  const unsigned size = wide ? 4 : 2;
  const auto field = [&](u64 la, u32 v) {
    return wide ? cpu.write_system(la, v) : cpu.write_system(la, static_cast<u16>(v));
  };
  u64 la = base + (wide ? eip_32 : ip_16);
  if (!field(la, task.eip) || !field(la + size, task.eflags)) return false;
  la += 2 * size;
  for (const u32 v : task.gpr) {
    if (!field(la, v)) return false;
    la += size;
  }
  const unsigned segments = wide ? 6 : segments_16;
  for (unsigned n = 0; n < segments; ++n, la += size)
    if (!cpu.write_system(la, task.selector[n])) return false;
  return true;
}

}  // namespace bhyve::soft
