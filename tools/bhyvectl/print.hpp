#pragma once
#include <nlohmann/json.hpp>
#include <vector>

#include "bhyve/inspect.hpp"
#include "bhyve/vcpu_exit.hpp"
#include "bhyve/vm.hpp"

/// The output of bhyvectl in bhyve's shapes, and the same as JSON.
namespace tool {

using Json = nlohmann::ordered_json;

void print_registers(int cpu, const bhyve::VcpuRegisters& registers);
void print_statistics(int cpu, const std::vector<bhyve::Statistic>& statistics);
void print_memory_segments(const std::vector<bhyve::MemorySegment>& segments);
[[nodiscard]] Json memory_segments_json(const std::vector<bhyve::MemorySegment>& segments);
void print_gpa_pmap(std::uint64_t gpa, const std::vector<std::uint64_t>& entries);
[[nodiscard]] Json gpa_pmap_json(const std::vector<std::uint64_t>& entries);
void print_memory_map(const std::vector<bhyve::MemoryMapping>& map);
void print_topology(const bhyve::CpuSets& cpus);
void print_cpu_set(const char* label, const std::vector<unsigned>& cpus);
void print_descriptor(unsigned cpu, const bhyve::DescriptorValue& d);
void print_info(const bhyve::VmInfo& info);
void print_events(unsigned cpu, const bhyve::EventInfo& events);
void print_rtc_time(std::int64_t seconds);
void print_exit(unsigned cpu, const bhyve::VcpuExit& exit);
void print_list(const std::vector<bhyve::VmSummary>& vms);

/// Addresses and registers are texts in hexadecimal (a JSON number is not sure to hold 64 bits);
/// counters are numbers.
[[nodiscard]] std::string hex(std::uint64_t value);
[[nodiscard]] const char* apic_state_word(bhyve::ApicState state);
/// Bytes of RAM below 4 GB, or from there on.
[[nodiscard]] std::uint64_t ram_bytes(const std::vector<bhyve::MemoryMapping>& map, bool low);
[[nodiscard]] Json descriptor_json(const bhyve::DescriptorValue& d);
[[nodiscard]] Json info_json(const bhyve::VmInfo& info);
[[nodiscard]] Json events_json(const bhyve::EventInfo& events);
[[nodiscard]] Json exit_json(const bhyve::VcpuExit& exit);
[[nodiscard]] Json registers_json(const bhyve::VcpuRegisters& registers);
[[nodiscard]] Json statistics_json(const std::vector<bhyve::Statistic>& statistics);
[[nodiscard]] Json memory_map_json(const std::vector<bhyve::MemoryMapping>& map);
[[nodiscard]] Json topology_json(const bhyve::CpuSets& cpus);
[[nodiscard]] Json list_json(const std::vector<bhyve::VmSummary>& vms);

}  // namespace tool
