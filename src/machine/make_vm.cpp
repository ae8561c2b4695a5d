#include "machine/make_vm.hpp"

#include <algorithm>

#include "engine/soft/soft_engine.hpp"
#include "timer/tsc.hpp"

namespace bhyve::machine {
namespace {

/// True unless cpu.features takes the feature away: chips and CPUID must agree. The engine checks the
/// list's grammar and names.
bool keeps_feature(std::string_view features, std::string_view name) {
  bool keeps = true;
  while (!features.empty()) {
    const std::string_view item = features.substr(0, features.find(','));
    if (item.size() > 1 && item.substr(1) == name) keeps = item[0] != '-';
    features.remove_prefix(std::min(item.size() + 1, features.size()));
  }
  return keeps;
}

/// The one place where capabilities are set, the same for BSP and APs. What the command line asked for
/// must be there; INVPCID is offered where the engine has it.
Result<void> set_capabilities(vmm::Vm& vm, const MachineConfig& config) {
  using abi::Capability;
  struct Row {
    Capability capability;
    bool wanted;
    const char* absent;  ///< the sentence when the engine does not have it; nullptr: as well without
  };
  const Row rows[] = {
      {Capability::halt_exit, config.exit_on_hlt, "-H: the CPU engine has no exit on HLT"},
      {Capability::pause_exit, config.exit_on_pause, "-P: the CPU engine has no exit on PAUSE"},
      {Capability::enable_invpcid, true, nullptr},
  };
  for (VcpuId id = 0; id < vm.vcpu_count(); ++id) {
    for (const Row& row : rows) {
      if (!row.wanted) continue;
      const auto set = vm.vcpu(id).set_capability(row.capability, true);
      if (!set && row.absent) return fail(set.error().code, "{}", row.absent);
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<vmm::Vm>> make_vm(MachineConfig& config) {
  mem::Vmspace::Options space_options;
  space_options.lowmem = config.lowmem;
  space_options.highmem = config.highmem;
  space_options.ept = config.ept;
  // More than all of it is no limit.
  space_options.resident = config.resident < config.memory ? config.resident : 0;
  space_options.swap = config.swap;
  space_options.prefault = config.prefault;
  space_options.confined = config.seccomp;
  auto space = mem::Vmspace::create(space_options);
  if (!space) return tl::make_unexpected(space.error());
  vmm::VmConfig vm_config;
  vm_config.vcpus = config.vcpus;
  vm_config.x2apic = keeps_feature(config.cpu.features, "x2apic");
  vm_config.start_in_x2apic = config.apic_mode == ApicMode::x2apic;
  vm_config.tsc_deadline = keeps_feature(config.cpu.features, "tsc-deadline");
  vm_config.rtc_localtime = config.rtc_localtime;
  vm_config.lowmem = config.lowmem;
  vm_config.highmem = config.highmem;
  vm_config.tsc_hz = timer::TscClock::measure().hz;
  config.cpu.tsc_hz = vm_config.tsc_hz;
  config.cpu.apic_timer_hz = vm_config.lapic_timer_hz;
  const auto make_engine = [&config](mem::Vmspace& memory) {
    return soft::make_soft_engine(memory, config.cpu, config.vcpus);
  };
  auto vm = vmm::Vm::create(vm_config, std::move(*space), make_engine);
  if (!vm) return vm;
  if (auto ok = set_capabilities(**vm, config); !ok) return tl::make_unexpected(ok.error());
  return vm;
}

}  // namespace bhyve::machine
