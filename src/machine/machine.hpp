#pragma once
#include <memory>

#include "base/error.hpp"
#include "bhyve/abi/exit_code.hpp"
#include "bhyve/inspect.hpp"
#include "bhyve/pptdev.hpp"
#include "bhyve/run_result.hpp"
#include "machine/loaded_guest.hpp"
#include "machine/machine_config.hpp"

namespace bhyve::machine {

/// A whole virtual machine: from the configuration tree to the end of its run.
/// Thread safety: run() by one thread, once. The members that look and control may be called from any
/// thread that is not a vCPU's or the machine's event thread, from creation on.
class Machine final {
 public:
  /// Makes memory, CPUs and devices and loads the guest; `loaded` is what bhyveload left, or nullptr. On
  /// failure (one sentence that names what was wrong) nothing is left.
  [[nodiscard]] static Result<std::unique_ptr<Machine>> create(const Config& config,
                                                               const LoadedGuest* loaded);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  /// Runs the guest until the VM is suspended and all its output is out.
  [[nodiscard]] Result<RunResult> run();

  [[nodiscard]] const MachineConfig& config() const;

  /// vm_suspend(): EINVAL for an unknown reason, EALREADY after the first call.
  [[nodiscard]] Result<void> suspend(abi::SuspendHow how);
  /// SIGTERM: the first one presses the ACPI power button if the guest has ACPI on. Otherwise, and the
  /// second time, the machine is switched off.
  void terminate();

  // What bhyvectl shows and does. EINVAL names a vCPU that does not exist.
  [[nodiscard]] Result<VcpuRegisters> registers(u64 vcpu);
  [[nodiscard]] Result<std::vector<Statistic>> statistics(u64 vcpu);
  [[nodiscard]] std::vector<MemoryMapping> memory_map();
  [[nodiscard]] CpuSets cpu_sets();
  [[nodiscard]] Result<void> inject_nmi(u64 vcpu);
  /// EINVAL when the address is not the local APICs'.
  [[nodiscard]] Result<void> lapic_msi(u64 address, u32 data);
  /// Interrupts of a host function that this machine was given: ENXIO when it was not.
  [[nodiscard]] Result<void> setup_pptdev(const PptFunction& function);
  /// vcpu -1: all.
  [[nodiscard]] Result<void> assert_lapic_lvt(i64 vcpu, u64 pin);

 private:
  struct Parts;
  explicit Machine(std::unique_ptr<Parts> parts);
  [[nodiscard]] Result<void> check_vcpu(u64 vcpu) const;
  std::unique_ptr<Parts> parts_;
};

}  // namespace bhyve::machine
