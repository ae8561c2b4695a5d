#pragma once
#include <cstddef>
#include <memory>
#include <string>

#include "bhyve/abi/error.hpp"
#include "bhyve/config.hpp"
#include "bhyve/vcpu_exit.hpp"
#include "bhyve/vm.hpp"

namespace bhyve {

/// A VM whose vCPUs this process runs itself: memory, CPUs and the chips near them (local APICs, I/O APIC,
/// PIC, PIT, HPET, PM timer, clock chip), no devices. Or a stopped VM, looked at. While the object is there
/// the VM is this process's alone; others reach it through its control socket (Control::connect()).
///
/// Variables that matter: name, cpus and the other -c ones, memory.size, cpu.*, x86.*, rtc.use_localtime.
/// Thread safety: run() by one thread a vCPU; everything else from any thread, but no two of create,
/// open, destroy and the destructor at once.
class OwnVm final {
 public:
  /// Makes a VM. EEXIST when there is one of that name.
  [[nodiscard]] static Result<OwnVm> create(const Config& config);
  /// Whether others may reach the VM meanwhile. A look is meant to be short: who wants to run the VM
  /// waits for its end.
  enum class For { running, looking };
  /// Takes a stopped VM over, with the memory and registers that were left. ENOENT, or EBUSY when
  /// another process runs it.
  [[nodiscard]] static Result<OwnVm> open(const std::string& name, For purpose = For::running);
  OwnVm(OwnVm&&) noexcept;
  OwnVm& operator=(OwnVm&&) noexcept;
  /// The VM stays. When it was run or changed, memory and registers are written to its directory and
  /// `bhyve NAME` goes on from there.
  ~OwnVm();

  [[nodiscard]] const std::string& name() const;
  [[nodiscard]] unsigned cpus() const;
  /// Everything that is not of running: registers, capabilities, interrupts ... The object outlives it.
  [[nodiscard]] Control control();

  /// Host address of [gpa, gpa + length), all of it in lowmem or all in highmem; else nullptr. Good as
  /// long as this object. Code that is written there while a vCPU runs on other code of the same page is
  /// seen at that vCPU's next run().
  [[nodiscard]] std::byte* map(std::uint64_t gpa, std::uint64_t length);
  /// Guest-physical address of such an address, or -1.
  [[nodiscard]] std::uint64_t reverse_map(const void* address) const;
  [[nodiscard]] std::uint64_t lowmem() const;
  [[nodiscard]] std::uint64_t highmem() const;

  /// vm_run(): enters the guest until something needs you. `exit` is the same record on every call for a
  /// vCPU. EINVAL for a vCPU that does not exist. A vCPU other than 0 waits for SIPI before it executes.
  [[nodiscard]] Result<void> run(unsigned cpu, VcpuExit& exit);
  /// vm_activate_cpu(): EBUSY when it is active.
  [[nodiscard]] Result<void> activate(unsigned cpu);
  /// vm_reinit(): back to power-up with memory and clock chip kept. EBUSY while a vCPU has not come back
  /// with `suspended`.
  [[nodiscard]] Result<void> reinit();
  /// Removes the VM with everything that belongs to it.
  [[nodiscard]] Result<void> destroy();

 private:
  struct Impl;
  explicit OwnVm(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bhyve
