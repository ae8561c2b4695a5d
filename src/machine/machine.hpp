#pragma once
#include <memory>

#include "base/error.hpp"
#include "bhyve/run_result.hpp"
#include "machine/loaded_guest.hpp"
#include "machine/machine_config.hpp"
#include "machine/vm_control.hpp"

namespace bhyve::machine {

/// A whole virtual machine: from the configuration tree to the end of its run.
/// Thread safety: run() by one thread, once. The members that look and control may be called from any
/// thread that is not a vCPU's or the machine's event thread, from creation on.
class Machine final : public VmControl {
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

  /// The vCPUs after run() has returned, for the VM's directory.
  [[nodiscard]] std::vector<u8> save_stopped_vcpus();
  /// SIGTERM: the first one presses the ACPI power button if the guest has ACPI on. Otherwise, and the
  /// second time, the machine is switched off.
  void terminate();

 private:
  struct Parts;
  explicit Machine(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace bhyve::machine
