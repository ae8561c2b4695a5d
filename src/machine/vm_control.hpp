#pragma once
#include <atomic>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "bhyve/abi/exit_code.hpp"
#include "bhyve/inspect.hpp"
#include "bhyve/pptdev.hpp"
#include "machine/machine_config.hpp"
#include "vmm/vm.hpp"

namespace bhyve::machine {

/// Where the host threads of the vCPUs may run (vcpu.N.cpuset). Any thread.
class Pinning {
 public:
  virtual ~Pinning() = default;
  /// Empty: any CPU of the process.
  [[nodiscard]] virtual std::vector<unsigned> affinity(VcpuId vcpu) const = 0;
  /// Binds the thread, now and when it is made anew. EINVAL for CPUs that the process may not use.
  [[nodiscard]] virtual Result<void> set_affinity(VcpuId vcpu, std::vector<unsigned> cpus) = 0;
};

/// Everything that may be seen of a VM and done to it from outside, over its Vm: the calls of
/// libvmmapi that need no device model. The same for a machine that runs, for a VM that a program
/// drives through the library, and for a stopped one.
/// Thread safety: any thread that is not a vCPU's inside of vm_run() nor the machine's event thread.
/// A vCPU that runs is frozen for as long as its state is copied.
class VmControl {
 public:
  VmControl(const VmControl&) = delete;
  VmControl& operator=(const VmControl&) = delete;

  [[nodiscard]] vmm::Vm& vm() { return *vm_; }

  // vCPU state. EINVAL names a vCPU or register that does not exist, or bits that must be 0.
  [[nodiscard]] Result<VcpuRegisters> registers(u64 vcpu);
  [[nodiscard]] Result<u64> get_register(u64 vcpu, std::string_view name);
  [[nodiscard]] Result<void> set_register(u64 vcpu, std::string_view name, u64 value);
  [[nodiscard]] Result<DescriptorValue> get_descriptor(u64 vcpu, std::string_view name);
  /// Sets base, limit and access; the selector is a register of its own.
  [[nodiscard]] Result<void> set_descriptor(u64 vcpu, const DescriptorValue& value);
  /// vcpu_reset(): power-up state; vCPUs but 0 then wait for SIPI.
  [[nodiscard]] Result<void> reset_vcpu(u64 vcpu);
  /// ENOENT: this CPU engine has no such capability.
  [[nodiscard]] Result<bool> get_capability(u64 vcpu, abi::Capability capability);
  [[nodiscard]] Result<void> set_capability(u64 vcpu, abi::Capability capability, bool on);
  [[nodiscard]] Result<ApicState> x2apic_state(u64 vcpu);
  /// EBUSY once the vCPU has run.
  [[nodiscard]] Result<void> set_x2apic_state(u64 vcpu, ApicState state);
  [[nodiscard]] Result<std::vector<Statistic>> statistics(u64 vcpu);
  [[nodiscard]] Result<EventInfo> events(u64 vcpu);

  // Which vCPUs take part.
  [[nodiscard]] CpuSets cpu_sets();
  /// Stops and resumes a vCPU, or all with -1.
  [[nodiscard]] Result<void> suspend_cpu(i64 vcpu);
  [[nodiscard]] Result<void> resume_cpu(i64 vcpu);
  [[nodiscard]] Result<std::vector<unsigned>> pinning(u64 vcpu);
  /// ENOTSUP when the machine has no threads of its own.
  [[nodiscard]] Result<void> set_pinning(u64 vcpu, std::vector<unsigned> cpus);

  // Interrupts.
  /// vm_inject_exception(): EINVAL for a vector above 31, NMI or #DF.
  [[nodiscard]] Result<void> inject_exception(u64 vcpu, u64 vector, bool has_error, u32 error);
  [[nodiscard]] Result<void> inject_nmi(u64 vcpu);
  /// vm_lapic_irq(): an edge interrupt. EINVAL below vector 16.
  [[nodiscard]] Result<void> lapic_irq(u64 vcpu, u64 vector);
  /// EINVAL when the address is not the local APICs'.
  [[nodiscard]] Result<void> lapic_msi(u64 address, u32 data);
  /// vcpu -1: all.
  [[nodiscard]] Result<void> assert_lapic_lvt(i64 vcpu, u64 pin);
  [[nodiscard]] Result<void> ioapic_irq(u64 pin, LineChange change);
  /// vm_isa_*_irq(): the PIC's input, and the I/O APIC's unless it is -1.
  [[nodiscard]] Result<void> isa_irq(u64 atpic, i64 ioapic, LineChange change);
  [[nodiscard]] Result<void> isa_irq_trigger(u64 atpic, bool level);
  [[nodiscard]] u32 ioapic_pins();
  /// Interrupts of a host function that this machine was given: ENXIO when it was not.
  [[nodiscard]] Result<void> setup_pptdev(const PptFunction& function);

  /// As Control's.
  [[nodiscard]] IoTrace io_trace(u64 from);
  void end_io_trace() { vm_->io_trace().stop(); }

  // Memory.
  [[nodiscard]] std::vector<MemoryMapping> memory_map();
  [[nodiscard]] std::vector<MemorySegment> memory_segments();
  /// vm_get_gpa_pmap().
  [[nodiscard]] std::vector<u64> gpa_pmap(u64 address);
  /// EFAULT when a byte of it is not memory.
  [[nodiscard]] Result<void> read_memory(u64 address, std::span<u8> into);
  [[nodiscard]] Result<void> write_memory(u64 address, std::span<const u8> from);
  /// vm_gla2gpa_nofault(): what the guest's page tables say. EFAULT when the access would fault.
  [[nodiscard]] Result<u64> translate(u64 vcpu, u64 linear, bool write);

  // Clock chip.
  [[nodiscard]] i64 rtc_time();
  [[nodiscard]] Result<void> set_rtc_time(i64 seconds);
  [[nodiscard]] Result<u8> rtc_nvram(u64 offset);
  [[nodiscard]] Result<void> set_rtc_nvram(u64 offset, u8 value);

  /// vm_suspend(): EINVAL for an unknown reason, EALREADY after the first call.
  [[nodiscard]] Result<void> suspend(abi::SuspendHow how);
  [[nodiscard]] VmInfo info();

 protected:
  VmControl() = default;
  ~VmControl() = default;
  /// All outlive this object; `pinning` may be nullptr. Called once, before any other member.
  /// `change_at`: what setters wait for. A machine's vCPUs complete their accesses by themselves; a
  /// program that drives a vCPU changes its registers in the middle of one.
  void control(vmm::Vm& vm, const engine::CpuConfig& cpu, Pinning* pinning,
               vmm::Vcpu::FreezeAt change_at);
  [[nodiscard]] Result<void> check_vcpu(u64 vcpu) const;

 private:
  /// Runs `change` on the state with the vCPU frozen.
  template <class Change>
  Result<void> change_state(u64 vcpu, engine::StateGroups groups, Change change);
  template <class Read>
  Result<void> read_state(u64 vcpu, engine::StateGroups groups, Read read);
  static void drive(intc::IrqPin& pin, LineChange change);

  vmm::Vm* vm_ = nullptr;
  const engine::CpuConfig* cpu_ = nullptr;
  Pinning* pinning_ = nullptr;
  vmm::Vcpu::FreezeAt change_at_ = vmm::Vcpu::FreezeAt::complete;
  double since_ = 0;

 protected:
  std::atomic<bool> idle_{false};  ///< nobody has run a vCPU since it was made
};

}  // namespace bhyve::machine
