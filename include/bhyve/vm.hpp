#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
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

/// What a run does with the thread that calls it, should the guest have broken out of its CPU. The VM's
/// own threads lose the system calls that they do not need in any case (docs/isolation.md).
enum class CallerThread : std::uint8_t {
  stays_free,
  is_confined,  ///< it and what it starts later keep what ends the VM cleanly, for good
};

/// Runs a virtual machine in this process until it ends; blocks. The variable `name` must be set. The
/// VM's directory is made, or the one that an earlier run left is used again. On failure nothing
/// that this call made is left behind. EBUSY when a VM of that name runs. Takes over SIGTERM (ACPI
/// power button) and SIGINT for the time of the run; if SIGCHLD has no handler, stopped children do not
/// raise it from then on (SA_NOCLDSTOP). One run at a time in a process.
[[nodiscard]] Result<RunResult> run_vm(const Config& config,
                                        CallerThread caller = CallerThread::stays_free);

/// bhyveload: loads the kernel of the configuration into the memory of the VM `name`, which is made or
/// loaded anew; run_vm() without anything to boot goes on from there. EBUSY when the VM runs. On failure
/// a VM that was there before keeps what it had.
[[nodiscard]] Result<void> load_vm(const Config& config);

/// Checks a configuration as run_vm() would, without making anything.
[[nodiscard]] Result<void> check_config(const Config& config);

/// bhyve --dry-run: the machine that a configuration means, as text for people: CPUs, memory, devices with
/// their windows and interrupts, and what is not in this build. Makes and opens nothing.
[[nodiscard]] Result<std::string> describe_machine(const Config& config);

/// A VM as its directory tells it.
struct VmSummary final {
  std::string name;
  bool running = false;
  bool crashed = false;  ///< its bhyve ended without a word; the next run or destroy cleans up
  std::string memory;    ///< variable memory.size
  std::uint32_t cpus = 0;
  /// Of a running one, when it answers.
  std::optional<VmInfo> info;
};

/// All VMs of this user, by name.
[[nodiscard]] Result<std::vector<VmSummary>> list_vms();

/// Makes a VM with no memory contents (bhyvectl --create). EEXIST when there is one.
[[nodiscard]] Result<void> create_vm(const Config& config);

/// Sets variables of a VM that does not run; they count when it is opened next. Fails with what is wrong
/// with them.
[[nodiscard]] Result<void> configure_stopped_vm(const std::string& name, const Config& changes);

/// Sets the memory of a VM that does not run (bhyvectl --set-mem), rounded up to 2 MiB. EEXIST when it
/// holds memory of another size already.
[[nodiscard]] Result<void> set_stopped_memory(const std::string& name, std::uint64_t bytes);

/// Removes a VM; a running one is ended by force first. ENOENT when there is none. Removes only
/// files that bhyve makes.
[[nodiscard]] Result<void> destroy_vm(const std::string& name);

/// 1 to 229 bytes, no '/', no control character, no leading dot or dash.
[[nodiscard]] Result<void> check_vm_name(std::string_view name);

/// A connection to a VM: through the control socket of the process that runs it, or straight to one in
/// this process (OwnVm::control()). Each call is one request and its answer and fails with the errno
/// value that the VM gave. Thread safety: one thread at a time; any number of connections.
class Control final {
 public:
  /// ENOENT when there is no such VM, ESRCH when it does not run.
  [[nodiscard]] static Result<Control> connect(const std::string& name);
  Control(Control&&) noexcept;
  Control& operator=(Control&&) noexcept;
  ~Control();

  // State of a vCPU. Registers go by bhyve's names: rax ... r15, rip, rflags, cr0, cr2, cr3, cr4, efer,
  // dr0 ... dr7, selectors cs ds es fs gs ss tr ldtr. EINVAL for another name or bits that must be 0.
  [[nodiscard]] Result<VcpuRegisters> registers(unsigned cpu);
  [[nodiscard]] Result<std::uint64_t> get_register(unsigned cpu, const std::string& name);
  [[nodiscard]] Result<void> set_register(unsigned cpu, const std::string& name,
                                          std::uint64_t value);
  /// Segment registers with their hidden part, gdtr and idtr. Setting leaves the selector alone.
  [[nodiscard]] Result<DescriptorValue> get_descriptor(unsigned cpu, const std::string& name);
  [[nodiscard]] Result<void> set_descriptor(unsigned cpu, const DescriptorValue& value);
  /// vcpu_reset(): power-up state.
  [[nodiscard]] Result<void> reset_vcpu(unsigned cpu);
  /// ENOENT when the VM's CPU engine has no such capability.
  [[nodiscard]] Result<bool> get_capability(unsigned cpu, abi::Capability capability);
  [[nodiscard]] Result<void> set_capability(unsigned cpu, abi::Capability capability, bool on);
  [[nodiscard]] Result<ApicState> x2apic_state(unsigned cpu);
  /// EBUSY once the vCPU has run.
  [[nodiscard]] Result<void> set_x2apic_state(unsigned cpu, ApicState state);
  [[nodiscard]] Result<std::vector<Statistic>> statistics(unsigned cpu);
  [[nodiscard]] Result<EventInfo> events(unsigned cpu);

  // The VM as a whole.
  [[nodiscard]] Result<VmInfo> info();
  [[nodiscard]] Result<std::vector<MemoryMapping>> memory_map();
  [[nodiscard]] Result<std::vector<MemorySegment>> memory_segments();
  /// vm_get_gpa_pmap(): the entries of the nested page tables on the way to a guest-physical
  /// address, from the top; the last one is the leaf or maps nothing.
  [[nodiscard]] Result<std::vector<std::uint64_t>> gpa_pmap(std::uint64_t address);
  [[nodiscard]] Result<CpuSets> cpu_sets();
  /// Stops a vCPU before its next instruction and lets it go on; -1 means all.
  [[nodiscard]] Result<void> suspend_cpu(int cpu);
  [[nodiscard]] Result<void> resume_cpu(int cpu);
  /// Host CPUs of a vCPU's thread, empty: any. ENOTSUP when the VM has no threads of its own.
  [[nodiscard]] Result<std::vector<unsigned>> pinning(unsigned cpu);
  [[nodiscard]] Result<void> set_pinning(unsigned cpu, const std::vector<unsigned>& host_cpus);

  // Interrupts.
  [[nodiscard]] Result<void> inject_exception(unsigned cpu, unsigned vector,
                                              std::optional<std::uint32_t> error);
  [[nodiscard]] Result<void> inject_nmi(unsigned cpu);
  /// Fires entry `pin` (0..6) of the local vector table; cpu -1 means all vCPUs.
  [[nodiscard]] Result<void> assert_lapic_lvt(int cpu, unsigned pin);
  /// An edge interrupt at a local APIC; vector 16 to 255.
  [[nodiscard]] Result<void> lapic_irq(unsigned cpu, unsigned vector);
  /// vm_lapic_msi(): delivers a message-signalled interrupt; address and data are opaque to the
  /// caller. EINVAL when the address is not the local APICs'.
  [[nodiscard]] Result<void> lapic_msi(std::uint64_t address, std::uint64_t data);
  [[nodiscard]] Result<unsigned> ioapic_pins();
  [[nodiscard]] Result<void> ioapic_irq(unsigned pin, LineChange change);
  /// The input of the PIC, and that of the I/O APIC unless it is -1.
  [[nodiscard]] Result<void> isa_irq(unsigned atpic, int ioapic, LineChange change);
  [[nodiscard]] Result<void> isa_irq_trigger(unsigned atpic, bool level);
  /// vm_setup_pptdev_msi(): `count` messages from `message` on, 0 turns them off; and the same for
  /// one entry of an MSI-X table. ENXIO when the VM was not given that function.
  [[nodiscard]] Result<void> setup_pptdev_msi(PptFunction function, PptMessage message,
                                              unsigned count);
  [[nodiscard]] Result<void> setup_pptdev_msix(PptFunction function, unsigned index,
                                               PptMessage message, std::uint32_t vector_control);

  /// Port and device-memory accesses of all vCPUs from number `from` on, as many as fit an answer.
  /// Tracing begins with the first call and ends with end_io_trace(), or by itself when nobody asks
  /// any more. Accesses that nobody fetched in time are left out: their numbers are missing.
  [[nodiscard]] Result<IoTrace> io_trace(std::uint64_t from);
  [[nodiscard]] Result<void> end_io_trace();

  // Guest memory, by guest-physical address. EFAULT when a byte of it is not memory.
  [[nodiscard]] Result<void> read_memory(std::uint64_t address, std::span<std::uint8_t> into);
  [[nodiscard]] Result<void> write_memory(std::uint64_t address,
                                          std::span<const std::uint8_t> from);
  /// The guest-physical address of a linear one. EFAULT when the access would fault.
  [[nodiscard]] Result<std::uint64_t> translate(unsigned cpu, std::uint64_t linear, bool write);

  // Clock chip: seconds since 1970 as its calendar shows them; CMOS bytes 0Eh to 7Fh.
  [[nodiscard]] Result<std::int64_t> rtc_time();
  [[nodiscard]] Result<void> set_rtc_time(std::int64_t seconds);
  [[nodiscard]] Result<std::uint8_t> rtc_nvram(unsigned offset);
  [[nodiscard]] Result<void> set_rtc_nvram(unsigned offset, std::uint8_t value);

  /// vm_suspend(): EALREADY when the VM already ends.
  [[nodiscard]] Result<void> suspend(abi::SuspendHow how);
  /// Ends the VM by force and removes it. Returns when its process has gone. Not for one in this
  /// process.
  [[nodiscard]] Result<void> destroy();

 private:
  friend class OwnVm;
  struct Impl;
  explicit Control(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bhyve
