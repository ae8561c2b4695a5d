#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "bhyve/vcpu_exit.hpp"
#include "machine/loaded_guest.hpp"
#include "machine/machine_config.hpp"
#include "machine/vm_control.hpp"

namespace bhyve::machine {

/// A VM without devices or threads, for a program that runs its vCPUs itself, and for a look at a stopped
/// one.
/// Thread safety: run() by one thread a vCPU; the rest from any thread.
class BareVm final : public VmControl {
 public:
  /// `left` is what there is of the VM on disk, or nullptr; `cpus_only` are registers of a guest that has
  /// ended, or empty.
  [[nodiscard]] static Result<std::unique_ptr<BareVm>> create(const Config& config,
                                                              const LoadedGuest* left,
                                                              std::span<const u8> cpus_only);
  ~BareVm();

  [[nodiscard]] const MachineConfig& config() const { return config_; }
  [[nodiscard]] Result<void> run(u64 vcpu, VcpuExit& exit);
  [[nodiscard]] Result<void> activate(u64 vcpu);
  [[nodiscard]] Result<void> reinit();

  /// As OwnVm::map() and reverse_map().
  [[nodiscard]] std::byte* map(u64 gpa, u64 length);
  [[nodiscard]] u64 reverse_map(const void* address) const;

  /// A vCPU ran or memory was given out: there is something to keep.
  [[nodiscard]] bool used() const { return used_.load(); }
  /// For the VM's directory, see machine/stopped_vm.hpp.
  [[nodiscard]] std::vector<u8> save_cpus();
  [[nodiscard]] const mem::Vmspace& vm_space() const { return owned_->space(); }

 private:
  explicit BareVm(MachineConfig config);
  /// Code on pages that the program may write to through map(): what changed since the last look is
  /// invalid.
  void check_code();

  MachineConfig config_;
  std::unique_ptr<vmm::Vm> owned_;
  std::vector<engine::Exit> exits_;  ///< by vCPU, its thread's
  std::byte* memory_ = nullptr;      ///< mapping of all RAM, once somebody asked
  u64 memory_size_ = 0;
  std::mutex map_mutex_;
  std::vector<std::pair<u64, u64>> code_sums_;  ///< under map_mutex_: page and checksum, ascending
  std::atomic<bool> mapped_{false}, used_{false};
};

}  // namespace bhyve::machine
