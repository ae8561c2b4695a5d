#include "machine/inspect.hpp"

#include <array>

namespace bhyve::machine {
namespace {

using engine::StateGroups;

constexpr std::array gpr_names{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                               "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr std::array segment_names{"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};

}  // namespace

VcpuRegisters describe(const engine::VcpuState& s) {
  VcpuRegisters out;
  const auto add = [&](const char* name, u64 value) { out.registers.push_back({name, value}); };
  for (usize i = 0; i < gpr_names.size(); ++i) add(gpr_names[i], s.gpr[i]);
  add("rip", s.rip);
  add("rflags", s.rflags);
  add("cr0", s.cr0);
  add("cr2", s.cr2);
  add("cr3", s.cr3);
  add("cr4", s.cr4);
  add("efer", s.efer);
  add("xcr0", s.xcr0);
  for (usize i = 0; i < s.dr.size(); ++i) add(fmt::format("dr{}", i).c_str(), s.dr[i]);
  add("dr6", s.dr6);
  add("dr7", s.dr7);
  for (usize i = 0; i < segment_names.size(); ++i) {
    const x86::Segment& seg = s.seg[i];
    out.descriptors.push_back({segment_names[i], seg.base, seg.limit, seg.access, seg.selector});
  }
  out.descriptors.push_back({"gdtr", s.gdtr.base, s.gdtr.limit, 0, 0});
  out.descriptors.push_back({"idtr", s.idtr.base, s.idtr.limit, 0, 0});
  return out;
}

VcpuRegisters read_registers(vmm::Vm& vm, VcpuId id) {
  engine::VcpuState state;
  vm.with_frozen(id, vmm::Vcpu::FreezeAt::any, [&](vmm::Vcpu& vcpu) {
    vcpu.store(StateGroups::gprs | StateGroups::control | StateGroups::segments |
                   StateGroups::debug,
               state);
  });
  return describe(state);
}

std::vector<Statistic> read_statistics(vmm::Vm& vm, VcpuId id) {
  std::vector<Statistic> out;
  vm.statistics(id, [&](std::string_view text, u64 value) {
    out.push_back({std::string(text), value});
  });
  return out;
}

std::vector<MemorySegment> read_memory_segments(const mem::Vmspace& space) {
  std::vector<MemorySegment> out{{0, space.lowmem() + space.highmem(), "sysmem"}};
  for (const auto& entry : space.entries())
    if (entry.name != "sysmem")
      out.push_back({static_cast<u32>(out.size()), entry.object_size, entry.name});
  return out;
}

std::vector<MemoryMapping> read_memory_map(const mem::Vmspace& space) {
  std::vector<MemoryMapping> out;
  for (const auto& entry : space.entries()) {
    std::string protection;
    protection += has(entry.prot, mem::Prot::read) ? 'r' : '-';
    protection += has(entry.prot, mem::Prot::write) ? 'w' : '-';
    protection += has(entry.prot, mem::Prot::exec) ? 'x' : '-';
    out.push_back({entry.start.value(), entry.length, entry.name, entry.offset, protection});
  }
  return out;
}

CpuSets read_cpu_sets(vmm::Vm& vm, const engine::CpuConfig& cpu) {
  CpuSets out{cpu.sockets, cpu.cores, cpu.threads, vm.vcpu_count(), {}, {}, {}};
  const bool ends = vm.suspended() != abi::SuspendHow::none;
  for (VcpuId id = 0; id < vm.vcpu_count(); ++id) {
    const vmm::Vcpu& vcpu = vm.vcpu(id);
    if (vcpu.active()) out.active.push_back(id);
    if (vcpu.cpu_suspended()) out.debug.push_back(id);
    if (ends && vcpu.active() && vcpu.state() == vmm::RunState::idle) out.suspended.push_back(id);
  }
  return out;
}

}  // namespace bhyve::machine
