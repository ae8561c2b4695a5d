#pragma once
#include <vector>

#include "bhyve/inspect.hpp"
#include "engine/vcpu_state.hpp"
#include "vmm/vm.hpp"

/// Reads a VM for bhyvectl. Any thread that is no vCPU's; a vCPU is frozen only while it is copied.
namespace bhyve::machine {

[[nodiscard]] VcpuRegisters describe(const engine::VcpuState& state);
[[nodiscard]] VcpuRegisters read_registers(vmm::Vm& vm, VcpuId id);
[[nodiscard]] std::vector<Statistic> read_statistics(vmm::Vm& vm, VcpuId id);
[[nodiscard]] std::vector<MemoryMapping> read_memory_map(const mem::Vmspace& space);
/// RAM first, then what else is in the map, in order of address.
[[nodiscard]] std::vector<MemorySegment> read_memory_segments(const mem::Vmspace& space);
[[nodiscard]] CpuSets read_cpu_sets(vmm::Vm& vm, const engine::CpuConfig& cpu);

}  // namespace bhyve::machine
