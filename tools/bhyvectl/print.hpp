#pragma once
#include <nlohmann/json.hpp>
#include <vector>

#include "bhyve/inspect.hpp"
#include "bhyve/vm.hpp"

/// The output of bhyvectl in bhyve's shapes, and the same as JSON.
namespace tool {

using Json = nlohmann::ordered_json;

void print_registers(int cpu, const bhyve::VcpuRegisters& registers);
void print_statistics(int cpu, const std::vector<bhyve::Statistic>& statistics);
void print_memory_map(const std::vector<bhyve::MemoryMapping>& map);
void print_topology(const bhyve::CpuSets& cpus);
void print_cpu_set(const char* label, const std::vector<unsigned>& cpus);
void print_list(const std::vector<bhyve::VmSummary>& vms);

/// Addresses and registers are texts in hexadecimal (a JSON number is not sure to hold 64 bits);
/// counters are numbers.
[[nodiscard]] Json registers_json(const bhyve::VcpuRegisters& registers);
[[nodiscard]] Json statistics_json(const std::vector<bhyve::Statistic>& statistics);
[[nodiscard]] Json memory_map_json(const std::vector<bhyve::MemoryMapping>& map);
[[nodiscard]] Json topology_json(const bhyve::CpuSets& cpus);
[[nodiscard]] Json list_json(const std::vector<bhyve::VmSummary>& vms);

}  // namespace tool
