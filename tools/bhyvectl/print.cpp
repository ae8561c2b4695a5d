#include "print.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace tool {
namespace {

std::string hex(std::uint64_t value) { return fmt::format("{:#018x}", value); }

const char* state_word(const bhyve::VmSummary& vm) {
  if (vm.running) return "running";
  return vm.crashed ? "crashed" : "stopped";
}

}  // namespace

void print_registers(int cpu, const bhyve::VcpuRegisters& registers) {
  for (const auto& d : registers.descriptors) {
    if (d.name == "gdtr" || d.name == "idtr") {
      fmt::print("{}[{}]\t\t{:#018x}/{:#010x}\n", d.name, cpu, d.base, d.limit);
      continue;
    }
    fmt::print("{} desc[{}]\t\t{:#018x}/{:#010x}/{:#010x}\n", d.name, cpu, d.base, d.limit,
               d.access);
    fmt::print("{}[{}]\t\t{:#018x}\n", d.name, cpu, d.selector);
  }
  for (const auto& r : registers.registers)
    fmt::print("{}[{}]\t\t{:#018x}\n", r.name, cpu, r.value);
}

void print_statistics(int cpu, const std::vector<bhyve::Statistic>& statistics) {
  fmt::print("vcpu{} stats:\n", cpu);
  for (const auto& s : statistics) fmt::print("{:<40}\t{}\n", s.text, s.value);
}

void print_memory_map(const std::vector<bhyve::MemoryMapping>& map) {
  fmt::print("{:<12}\t{:<12}\t{:<12}\t{:<12}\t{:<6}{}\n", "Address", "Length", "Segment", "Offset",
             "Prot", "Flags");
  for (const auto& m : map)
    fmt::print("{:<12X}\t{:<12X}\t{:<12}\t{:<12X}\t{:<6}{}\n", m.address, m.length, m.segment,
               m.offset, m.protection, "-");
}

void print_topology(const bhyve::CpuSets& cpus) {
  fmt::print("cpu_topology:\tsockets={}, cores={}, threads={}, maxcpus={}\n", cpus.sockets,
             cpus.cores, cpus.threads, cpus.maxcpus);
}

void print_cpu_set(const char* label, const std::vector<unsigned>& cpus) {
  fmt::print("{}:\t{}\n", label, cpus.empty() ? "(none)" : fmt::format("{}", fmt::join(cpus, ", ")));
}

void print_list(const std::vector<bhyve::VmSummary>& vms) {
  fmt::print("{:<24}{:<10}{:>6}{:>10}\n", "NAME", "STATE", "VCPUS", "MEMORY");
  for (const auto& vm : vms)
    fmt::print("{:<24}{:<10}{:>6}{:>10}\n", vm.name, state_word(vm), vm.cpus, vm.memory);
}

Json registers_json(const bhyve::VcpuRegisters& registers) {
  Json out{{"registers", Json::object()}, {"descriptors", Json::object()}};
  for (const auto& r : registers.registers) out["registers"][r.name] = hex(r.value);
  for (const auto& d : registers.descriptors)
    out["descriptors"][d.name] = {{"base", hex(d.base)},
                                  {"limit", hex(d.limit)},
                                  {"access", hex(d.access)},
                                  {"selector", hex(d.selector)}};
  return out;
}

Json statistics_json(const std::vector<bhyve::Statistic>& statistics) {
  Json out = Json::object();
  for (const auto& s : statistics) out[s.text] = s.value;
  return out;
}

Json memory_map_json(const std::vector<bhyve::MemoryMapping>& map) {
  Json out = Json::array();
  for (const auto& m : map)
    out.push_back({{"address", hex(m.address)},
                   {"length", hex(m.length)},
                   {"segment", m.segment},
                   {"offset", hex(m.offset)},
                   {"protection", m.protection}});
  return out;
}

Json topology_json(const bhyve::CpuSets& cpus) {
  return {{"sockets", cpus.sockets},
          {"cores", cpus.cores},
          {"threads", cpus.threads},
          {"maxcpus", cpus.maxcpus}};
}

Json list_json(const std::vector<bhyve::VmSummary>& vms) {
  Json out = Json::array();
  for (const auto& vm : vms)
    out.push_back({{"name", vm.name},
                   {"state", state_word(vm)},
                   {"cpus", vm.cpus},
                   {"memory", vm.memory}});
  return out;
}

}  // namespace tool
