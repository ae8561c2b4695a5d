#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bhyve/abi/error.hpp"
#include "bhyve/abi/exit_code.hpp"
#include "bhyve/config.hpp"
#include "bhyve/inspect.hpp"
#include "bhyve/pptdev.hpp"
#include "bhyve/run_result.hpp"

namespace bhyve {

/// The version of this library and of the tools, "major.minor.patch".
[[nodiscard]] std::string_view version();

/// Runs a virtual machine in this process until it ends; blocks. The variable `name` must be set. The
/// VM's directory is made, or the one that an earlier run left is used again. On failure nothing
/// that this call made is left behind. EBUSY when a VM of that name runs. Takes over SIGTERM (ACPI
/// power button) and SIGINT for the time of the run. One run at a time in a process.
[[nodiscard]] Result<RunResult> run_vm(const Config& config);

/// bhyveload: loads the kernel of the configuration into the memory of the VM `name`, which is made or
/// loaded anew; run_vm() without anything to boot goes on from there. EBUSY when the VM runs. On failure
/// a VM that was there before keeps what it had.
[[nodiscard]] Result<void> load_vm(const Config& config);

/// Checks a configuration as run_vm() would, without making anything.
[[nodiscard]] Result<void> check_config(const Config& config);

/// A VM as its directory tells it.
struct VmSummary final {
  std::string name;
  bool running = false;
  bool crashed = false;  ///< its bhyve ended without a word; the next run or destroy cleans up
  std::string memory;    ///< variable memory.size
  std::uint32_t cpus = 0;
};

/// All VMs of this user, by name.
[[nodiscard]] Result<std::vector<VmSummary>> list_vms();

/// Makes a VM with no memory contents (bhyvectl --create). EEXIST when there is one.
[[nodiscard]] Result<void> create_vm(const Config& config);

/// Removes a VM; a running one is ended by force first. ENOENT when there is none. Removes only
/// files that bhyve makes.
[[nodiscard]] Result<void> destroy_vm(const std::string& name);

/// 1 to 229 bytes, no '/', no control character, no leading dot or dash.
[[nodiscard]] Result<void> check_vm_name(std::string_view name);

/// A connection to a running VM through its control socket. Each call is one request and its answer
/// and fails with the errno value that the VM gave. Thread safety: one thread at a time.
class Control final {
 public:
  /// ENOENT when there is no such VM, ESRCH when it does not run.
  [[nodiscard]] static Result<Control> connect(const std::string& name);
  Control(Control&&) noexcept;
  Control& operator=(Control&&) noexcept;
  ~Control();

  [[nodiscard]] Result<VcpuRegisters> registers(unsigned cpu);
  [[nodiscard]] Result<std::vector<Statistic>> statistics(unsigned cpu);
  [[nodiscard]] Result<std::vector<MemoryMapping>> memory_map();
  [[nodiscard]] Result<CpuSets> cpu_sets();
  [[nodiscard]] Result<void> inject_nmi(unsigned cpu);
  /// Fires entry `pin` (0..6) of the local vector table; cpu -1 means all vCPUs.
  [[nodiscard]] Result<void> assert_lapic_lvt(int cpu, unsigned pin);
  /// vm_lapic_msi(): delivers a message-signalled interrupt; address and data are opaque to the
  /// caller. EINVAL when the address is not the local APICs'.
  [[nodiscard]] Result<void> lapic_msi(std::uint64_t address, std::uint64_t data);
  /// vm_setup_pptdev_msi(): `count` messages from `message` on, 0 turns them off; and the same for
  /// one entry of an MSI-X table. ENXIO when the VM was not given that function.
  [[nodiscard]] Result<void> setup_pptdev_msi(PptFunction function, PptMessage message,
                                              unsigned count);
  [[nodiscard]] Result<void> setup_pptdev_msix(PptFunction function, unsigned index,
                                               PptMessage message, std::uint32_t vector_control);
  /// vm_suspend(): EALREADY when the VM already ends.
  [[nodiscard]] Result<void> suspend(abi::SuspendHow how);
  /// Ends the VM by force and removes it. Returns when its process has gone.
  [[nodiscard]] Result<void> destroy();

 private:
  struct Impl;
  explicit Control(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bhyve
