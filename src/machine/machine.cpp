#include "machine/machine.hpp"

#include <algorithm>
#include <atomic>
#include <optional>

#include "base/log.hpp"
#include "engine/soft/soft_engine.hpp"
#include "machine/board.hpp"
#include "machine/boot.hpp"
#include "machine/exit_handler.hpp"
#include "machine/inspect.hpp"
#include "machine/vcpu_threads.hpp"
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

}  // namespace

/// In the order of their making; each needs only those before it.
struct Machine::Parts final {
  explicit Parts(MachineConfig resolved) : config(std::move(resolved)), loop("events") {}

  MachineConfig config;
  host::EventLoop loop;
  std::unique_ptr<vmm::Vm> vm;
  std::unique_ptr<Board> board;
  std::optional<ExitHandler> exits;
  std::optional<VcpuThreads> threads;
  std::atomic<bool> terminating{false};

  Result<void> make_vm();
  Result<void> set_capabilities();
};

Result<void> Machine::Parts::make_vm() {
  auto space = mem::Vmspace::create({.lowmem = config.lowmem, .highmem = config.highmem});
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
  const auto make_engine = [this](mem::Vmspace& memory) {
    return soft::make_soft_engine(memory, config.cpu, config.vcpus);
  };
  auto made = vmm::Vm::create(vm_config, std::move(*space), make_engine);
  if (!made) return tl::make_unexpected(made.error());
  vm = std::move(*made);
  return set_capabilities();
}

/// The same for BSP and APs.
Result<void> Machine::Parts::set_capabilities() {
  using abi::Capability;
  for (VcpuId id = 0; id < config.vcpus; ++id) {
    vmm::Vcpu& vcpu = vm->vcpu(id);
    if (config.exit_on_hlt)
      if (auto ok = vcpu.set_capability(Capability::halt_exit, true); !ok)
        return fail(ok.error().code, "-H: the CPU engine has no exit on HLT");
    if (config.exit_on_pause)
      if (auto ok = vcpu.set_capability(Capability::pause_exit, true); !ok)
        return fail(ok.error().code, "-P: the CPU engine has no exit on PAUSE");
    // Offered where the engine has it.
    (void)vcpu.set_capability(Capability::enable_invpcid, true);
  }
  return {};
}

Machine::Machine(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Machine::~Machine() = default;

Result<std::unique_ptr<Machine>> Machine::create(const Config& config,
                                                  const LoadedGuest* loaded) {
  auto resolved = resolve(config);
  if (!resolved) return tl::make_unexpected(resolved.error());
  auto parts = std::make_unique<Parts>(std::move(*resolved));
  Parts& p = *parts;
  if (p.config.wired || p.config.in_core)
    log_warn("memory.wired and memory.guest_in_core have no effect in this build");
  if (auto ok = p.make_vm(); !ok) return tl::make_unexpected(ok.error());
  auto board = Board::create(*p.vm, p.loop, p.config);
  if (!board) return tl::make_unexpected(board.error());
  p.board = std::move(*board);
  if (auto ok = load_guest(*p.vm, p.config, config, loaded, p.board->lpc_slot(),
                           p.board->interrupt_slots()); !ok)
    return tl::make_unexpected(ok.error());
  p.exits.emplace(*p.vm, p.board->ports(), p.board->memory(),
                  ExitHandler::Policy{p.config.strict_io, p.config.strict_msr},
                  [&p](VcpuId id) { p.threads->start(id); });
  p.threads.emplace(*p.vm, p.loop, p.config.cpusets, [&p](vmm::Vcpu& vcpu, engine::Exit& exit) {
    return p.exits->handle(vcpu, exit);
  });
  return std::unique_ptr<Machine>(new Machine(std::move(parts)));
}

Result<RunResult> Machine::run() {
  Parts& p = *parts_;
  p.vm->start();
  p.board->start();
  p.threads->start(0);
  p.threads->wait();
  p.vm->pause();
  p.board->pause();
  if (auto failure = p.exits->failure()) return tl::make_unexpected(std::move(*failure));
  return RunResult{p.vm->suspended(), p.board->debug_exit()};
}

const MachineConfig& Machine::config() const { return parts_->config; }

Result<void> Machine::suspend(abi::SuspendHow how) { return parts_->vm->suspend(how); }

void Machine::terminate() {
  if (!parts_->terminating.exchange(true) && parts_->board->acpi_pm().press_power_button()) return;
  (void)suspend(abi::SuspendHow::poweroff);
}

Result<void> Machine::check_vcpu(u64 vcpu) const {
  const u32 count = parts_->vm->vcpu_count();
  if (vcpu < count) return {};
  return fail(EINVAL, "vCPU {}: expected 0 to {}", vcpu, count - 1);
}

Result<VcpuRegisters> Machine::registers(u64 vcpu) {
  if (auto ok = check_vcpu(vcpu); !ok) return tl::make_unexpected(ok.error());
  return read_registers(*parts_->vm, static_cast<VcpuId>(vcpu));
}

Result<std::vector<Statistic>> Machine::statistics(u64 vcpu) {
  if (auto ok = check_vcpu(vcpu); !ok) return tl::make_unexpected(ok.error());
  return read_statistics(*parts_->vm, static_cast<VcpuId>(vcpu));
}

std::vector<MemoryMapping> Machine::memory_map() { return read_memory_map(parts_->vm->space()); }

CpuSets Machine::cpu_sets() { return read_cpu_sets(*parts_->vm, parts_->config.cpu); }

Result<void> Machine::inject_nmi(u64 vcpu) {
  if (auto ok = check_vcpu(vcpu); !ok) return ok;
  parts_->vm->nmi(static_cast<VcpuId>(vcpu));
  return {};
}

Result<void> Machine::lapic_msi(u64 address, u32 data) {
  constexpr u64 window = 0xfee0'0000, window_mask = ~u64{0xf'ffff};
  if ((address & window_mask) != window)
    return fail(EINVAL, "MSI address {:#x}: expected {:#x} to {:#x}", address, window,
                window | ~window_mask);
  parts_->vm->chips().lapic_bus().msi(address, data);
  return {};
}

Result<void> Machine::setup_pptdev(const PptFunction& function) {
  // No configuration can give a machine a host function yet, so none is ever found.
  return fail(ENXIO, "pptdev {}/{}/{} is not assigned to this VM", function.bus, function.slot,
              function.function);
}

Result<void> Machine::assert_lapic_lvt(i64 vcpu, u64 pin) {
  constexpr u64 highest = 6;
  if (pin > highest) return fail(EINVAL, "pin {}: expected 0 to {}", pin, highest);
  intc::LapicBus& bus = parts_->vm->chips().lapic_bus();
  if (vcpu == -1) {
    (void)bus.local_irq_all(static_cast<unsigned>(pin));
    return {};
  }
  if (auto ok = check_vcpu(static_cast<u64>(vcpu)); !ok) return ok;
  (void)bus.local_irq(static_cast<VcpuId>(vcpu), static_cast<unsigned>(pin));
  return {};
}

}  // namespace bhyve::machine
