#pragma once
#include <functional>
#include <mutex>
#include <optional>

#include "bus/mmio_map.hpp"
#include "bus/pio_map.hpp"
#include "vmm/vm.hpp"

namespace bhyve::machine {

/// The outer of bhyve's two levels: what a vCPU does with the exits that leave vm_run().
/// Thread safety: every vCPU thread calls handle() for its own vCPU.
class ExitHandler final {
 public:
  struct Policy {
    bool strict_io = false;   ///< an unknown port ends the VM (-e)
    bool strict_msr = true;   ///< an unknown MSR is #GP (not -w)
  };
  using StartVcpu = std::function<void(VcpuId)>;

  /// `start` gives a vCPU a thread.
  ExitHandler(vmm::Vm& vm, bus::PioMap& ports, bus::MmioMap& memory, const Policy& policy,
              StartVcpu start);

  /// Answers the exit. False: the vCPU's thread ends.
  [[nodiscard]] bool handle(vmm::Vcpu& vcpu, engine::Exit& exit);

  /// The host could not back a page of guest memory: ends the VM. Any thread.
  void memory_lost();

  /// Why the VM had to be stopped, if it had to.
  [[nodiscard]] std::optional<Error> failure() const;

 private:
  bool inout(vmm::Vcpu& vcpu, engine::Exit& exit);
  bool inst_emul(vmm::Vcpu& vcpu, engine::Exit& exit);
  bool rdmsr(vmm::Vcpu& vcpu, engine::Exit& exit);
  bool wrmsr(vmm::Vcpu& vcpu, engine::Exit& exit);
  bool spinup_ap(vmm::Vcpu& vcpu, engine::Exit& exit);
  bool paging(vmm::Vcpu& vcpu, engine::Exit& exit);
  bool pause();
  bool breakpoint(vmm::Vcpu& vcpu, engine::Exit& exit);
  bool ipi(vmm::Vcpu& vcpu, engine::Exit& exit);
  bool unexpected(vmm::Vcpu& vcpu, engine::Exit& exit);
  /// Remembers the first sentence and ends the VM.
  void stop(Error error);

  vmm::Vm& vm_;
  bus::PioMap& ports_;
  bus::MmioMap& memory_;
  const Policy policy_;
  const StartVcpu start_;
  mutable std::mutex mutex_;
  std::optional<Error> failure_;  ///< under mutex_
};

}  // namespace bhyve::machine
