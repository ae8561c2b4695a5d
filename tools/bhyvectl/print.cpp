#include "print.hpp"

#include <fmt/format.h>
#include <fmt/chrono.h>
#include <fmt/ranges.h>

#include <ctime>

namespace tool {
namespace {

const char* state_word(const bhyve::VmSummary& vm) {
  if (vm.running) return "running";
  return vm.crashed ? "crashed" : "stopped";
}

/// Seconds as days, hours, minutes: "3d04h", "2h05m", "7m03s".
std::string duration(double seconds) {
  const auto s = static_cast<std::uint64_t>(seconds);
  if (s >= 86400) return fmt::format("{}d{:02}h", s / 86400, s % 86400 / 3600);
  if (s >= 3600) return fmt::format("{}h{:02}m", s / 3600, s % 3600 / 60);
  return fmt::format("{}m{:02}s", s / 60, s % 60);
}

double cpu_percent(const bhyve::VmInfo& info) {
  return info.uptime > 0 ? 100 * info.cpu_seconds / info.uptime : 0;
}

const char* exit_word(bhyve::abi::ExitCode code) {
  constexpr const char* words[] = {
      "INOUT", "VMX", "BOGUS", "RDMSR", "WRMSR", "HLT", "MTRAP", "PAUSE", "PAGING",
      "INST_EMUL", "SPINUP_AP", "SPINDOWN_CPU", "RENDEZVOUS", "IOAPIC_EOI", "SUSPENDED",
      "INOUT_STR", "TASK_SWITCH", "MONITOR", "MWAIT", "SVM", "REQIDLE", "DEBUG", "VMINSN",
      "BPT", "IPI", "DB"};
  const auto index = static_cast<std::size_t>(code);
  return index < std::size(words) ? words[index] : "?";
}

}  // namespace

std::string hex(std::uint64_t value) { return fmt::format("{:#018x}", value); }

const char* apic_state_word(bhyve::ApicState state) {
  switch (state) {
    case bhyve::ApicState::disabled: return "off";
    case bhyve::ApicState::xapic: return "disabled";
    case bhyve::ApicState::x2apic: return "enabled";
  }
  return "?";
}

std::uint64_t ram_bytes(const std::vector<bhyve::MemoryMapping>& map, bool low) {
  constexpr std::uint64_t border = std::uint64_t{1} << 32;
  std::uint64_t sum = 0;
  for (const auto& m : map)
    if (m.segment == "sysmem" && (m.address < border) == low) sum += m.length;
  return sum;
}

void print_descriptor(unsigned cpu, const bhyve::DescriptorValue& d) {
  if (d.name == "gdtr" || d.name == "idtr")
    fmt::print("{}[{}]\t\t{:#018x}/{:#010x}\n", d.name, cpu, d.base, d.limit);
  else
    fmt::print("{} desc[{}]\t\t{:#018x}/{:#010x}/{:#010x}\n", d.name, cpu, d.base, d.limit, d.access);
}

void print_info(const bhyve::VmInfo& info) {
  fmt::print("engine:\t\t{}\nstate:\t\t{}\nvcpus:\t\t{}\nmemory:\t\t{} MiB, {} MiB resident\n"
             "uptime:\t\t{}\ncpu use:\t{:.1f} %\nprocess:\t{}\n",
             info.engine, info.state, info.cpus, info.memory >> 20, info.resident >> 20,
             duration(info.uptime), cpu_percent(info), info.pid);
}

void print_events(unsigned cpu, const bhyve::EventInfo& e) {
  fmt::print("intinfo[{}]\t\tstate {}", cpu, e.state);
  if (e.halted) fmt::print(", halted");
  if (e.waits_for_sipi) fmt::print(", waits for SIPI");
  if (e.nmi_pending) fmt::print(", nmi pending");
  if (e.interrupt_pending) fmt::print(", interrupt pending");
  if (e.nmi_blocked) fmt::print(", nmi blocked");
  if (e.interrupt_shadow) fmt::print(", interrupt shadow");
  fmt::print("\n");
}

void print_rtc_time(std::int64_t seconds) {
  const std::time_t time = seconds;
  std::tm fields{};
  ::gmtime_r(&time, &fields);
  fmt::print("rtc time {:#x}: {:%a %b %d %H:%M:%S %Y}\n", seconds, fields);
}

void print_exit(unsigned cpu, const bhyve::VcpuExit& exit) {
  fmt::print("vm exit[{}]\n\treason\t\t{}\n\trip\t\t{:#018x}\n\tinst_length\t{}\n", cpu,
             exit_word(exit.code), exit.rip, exit.inst_length);
  using bhyve::abi::ExitCode;
  if (exit.code == ExitCode::inout)
    fmt::print("\tbytes\t\t{}\n\tflags\t\t{}\n\tport\t\t{:#06x}\n\teax\t\t{:#010x}\n",
               exit.inout.bytes, exit.inout.in ? "in" : "out", exit.inout.port, exit.inout.eax);
  if (exit.code == ExitCode::inst_emul)
    fmt::print("\tgpa\t\t{:#018x}\n\tflags\t\t{}\n\tbytes\t\t{}\n", exit.mmio.gpa,
               exit.mmio.write ? "write" : "read", exit.mmio.size);
  if (exit.code == ExitCode::rdmsr || exit.code == ExitCode::wrmsr)
    fmt::print("\tmsr\t\t{:#010x}\n", exit.msr.number);
  if (exit.code == ExitCode::suspended)
    fmt::print("\thow\t\t{}\n", static_cast<unsigned>(exit.suspend));
}

Json descriptor_json(const bhyve::DescriptorValue& d) {
  return {{"base", hex(d.base)},
          {"limit", hex(d.limit)},
          {"access", hex(d.access)},
          {"selector", hex(d.selector)}};
}

Json info_json(const bhyve::VmInfo& info) {
  return {{"engine", info.engine},     {"state", info.state},   {"cpus", info.cpus},
          {"memory", info.memory},     {"resident", info.resident}, {"uptime", info.uptime},
          {"cpu-seconds", info.cpu_seconds}, {"pid", info.pid}};
}

Json events_json(const bhyve::EventInfo& e) {
  return {{"state", e.state},
          {"halted", e.halted},
          {"waits-for-sipi", e.waits_for_sipi},
          {"nmi-pending", e.nmi_pending},
          {"interrupt-pending", e.interrupt_pending},
          {"nmi-blocked", e.nmi_blocked},
          {"interrupt-shadow", e.interrupt_shadow}};
}

Json exit_json(const bhyve::VcpuExit& exit) {
  Json out{{"reason", exit_word(exit.code)}, {"rip", hex(exit.rip)}, {"inst-length", exit.inst_length}};
  using bhyve::abi::ExitCode;
  if (exit.code == ExitCode::inout)
    out["inout"] = {{"port", exit.inout.port}, {"bytes", exit.inout.bytes}, {"in", exit.inout.in},
                    {"eax", hex(exit.inout.eax)}};
  if (exit.code == ExitCode::inst_emul)
    out["inst-emul"] = {{"gpa", hex(exit.mmio.gpa)}, {"bytes", exit.mmio.size},
                        {"write", exit.mmio.write}};
  if (exit.code == ExitCode::rdmsr || exit.code == ExitCode::wrmsr)
    out["msr"] = {{"number", hex(exit.msr.number)}, {"value", hex(exit.msr.value)}};
  if (exit.code == ExitCode::suspended) out["how"] = static_cast<unsigned>(exit.suspend);
  return out;
}

void print_registers(int cpu, const bhyve::VcpuRegisters& registers) {
  for (const auto& d : registers.descriptors) {
    print_descriptor(static_cast<unsigned>(cpu), d);
    if (d.name != "gdtr" && d.name != "idtr")
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

void print_memory_segments(const std::vector<bhyve::MemorySegment>& segments) {
  fmt::print("{:<4}\t{:<12}\t{}\n", "ID", "Length", "Name");
  for (const auto& s : segments) fmt::print("{:<4}\t{:<12X}\t{}\n", s.id, s.length, s.name);
}

Json memory_segments_json(const std::vector<bhyve::MemorySegment>& segments) {
  Json out = Json::array();
  for (const auto& s : segments)
    out.push_back({{"id", s.id}, {"length", hex(s.length)}, {"name", s.name}});
  return out;
}

void print_gpa_pmap(std::uint64_t gpa, const std::vector<std::uint64_t>& entries) {
  fmt::print("gpa {:#x}:", gpa);
  for (const auto entry : entries) fmt::print(" {:#018x}", entry);
  fmt::print("\n");
}

Json gpa_pmap_json(const std::vector<std::uint64_t>& entries) {
  Json out = Json::array();
  for (const auto entry : entries) out.push_back(hex(entry));
  return out;
}

void print_topology(const bhyve::CpuSets& cpus) {
  fmt::print("cpu_topology:\tsockets={}, cores={}, threads={}, maxcpus={}\n", cpus.sockets,
             cpus.cores, cpus.threads, cpus.maxcpus);
}

void print_cpu_set(const char* label, const std::vector<unsigned>& cpus) {
  fmt::print("{}:\t{}\n", label, cpus.empty() ? "(none)" : fmt::format("{}", fmt::join(cpus, ", ")));
}

void print_list(const std::vector<bhyve::VmSummary>& vms) {
  fmt::print("{:<24}{:<10}{:>6}{:>10}{:>8}{:>10}\n", "NAME", "STATE", "VCPUS", "MEMORY", "CPU",
             "UPTIME");
  for (const auto& vm : vms)
    fmt::print("{:<24}{:<10}{:>6}{:>10}{:>8}{:>10}\n", vm.name, state_word(vm), vm.cpus, vm.memory,
               vm.info ? fmt::format("{:.1f}%", cpu_percent(*vm.info)) : "-",
               vm.info ? duration(vm.info->uptime) : "-");
}

Json registers_json(const bhyve::VcpuRegisters& registers) {
  Json out{{"registers", Json::object()}, {"descriptors", Json::object()}};
  for (const auto& r : registers.registers) out["registers"][r.name] = hex(r.value);
  for (const auto& d : registers.descriptors)
    out["descriptors"][d.name] = descriptor_json(d);
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
  for (const auto& vm : vms) {
    Json row{{"name", vm.name}, {"state", state_word(vm)}, {"cpus", vm.cpus}, {"memory", vm.memory}};
    if (vm.info) row["info"] = info_json(*vm.info);
    out.push_back(std::move(row));
  }
  return out;
}

}  // namespace tool
