#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/callout.hpp"
#include "engine/engine.hpp"
#include "intc/cpu_sink.hpp"
#include "mem/vmspace.hpp"
#include "timer/tsc.hpp"
#include "vmm/chips.hpp"
#include "vmm/io_trace.hpp"
#include "vmm/vcpu.hpp"
#include "vmm/vm_config.hpp"

namespace bhyve::vmm {

/// A virtual machine as bhyve's vmm.ko has it: memory, CPU engine, vCPUs and the chips that the
/// CPUs are near to. The machine around it brings the other devices and one host thread per vCPU.
///
/// Locks, from the outside in: world_mutex_ (rendezvous), sets_mutex_ (which vCPUs are active,
/// halted, suspended). Neither is held across guest execution; sets_mutex_ never while a callout is
/// waited for.
class Vm final : public intc::CpuSink {
 public:
  using EngineFactory = std::function<Result<std::unique_ptr<engine::Engine>>(mem::Vmspace&)>;

  /// Fails with the engine's sentence, or EINVAL for a vCPU count out of range.
  [[nodiscard]] static Result<std::unique_ptr<Vm>> create(const VmConfig& config,
                                                          std::unique_ptr<mem::Vmspace> space,
                                                          const EngineFactory& make_engine);
  /// No vCPU thread is in run() any more.
  ~Vm() override;
  Vm(const Vm&) = delete;
  Vm& operator=(const Vm&) = delete;

  [[nodiscard]] const VmConfig& config() const { return config_; }
  [[nodiscard]] mem::Vmspace& space() { return *space_; }
  [[nodiscard]] engine::Engine& engine() { return *engine_; }
  [[nodiscard]] Chips& chips() { return *chips_; }
  [[nodiscard]] const Chips& chips() const { return *chips_; }
  [[nodiscard]] CalloutWheel& callouts() { return callouts_; }
  [[nodiscard]] const timer::TscClock& tsc() const { return tsc_; }
  [[nodiscard]] u32 vcpu_count() const { return static_cast<u32>(vcpus_.size()); }
  [[nodiscard]] Vcpu& vcpu(VcpuId id) { return *vcpus_[id]; }

  [[nodiscard]] IoTrace& io_trace() { return io_trace_; }

  /// Starts and stops the chips' timers; the machine does so with its own devices. A VM starts
  /// paused.
  void start() { chips_->start(); }
  void pause() { chips_->pause(); }

  /// vm_suspend(): ends the VM, once. EINVAL for `none` or an unknown reason, EALREADY after the
  /// first.
  [[nodiscard]] Result<void> suspend(abi::SuspendHow how);
  [[nodiscard]] abi::SuspendHow suspended() const { return suspended_.load(); }
  /// vm_reinit(): back to power-up, memory and RTC kept. EBUSY while an active vCPU has not left
  /// run() with `suspended`; a VM that never ran passes. Paused, from a thread that runs no vCPU.
  [[nodiscard]] Result<void> reinit();

  /// Runs `function` while no vCPU executes the guest. From any thread; on a vCPU's thread the
  /// caller counts as stopped. The function must not freeze vCPUs, suspend() is fine.
  void rendezvous(const std::function<void()>& function);
  /// Runs `function` with one vCPU, or all, frozen. Not from a callout, nor while the calling
  /// thread is inside Vcpu::run().
  void with_frozen(VcpuId id, Vcpu::FreezeAt at, const std::function<void(Vcpu&)>& function);
  void with_all_frozen(Vcpu::FreezeAt at, const std::function<void()>& function);

  /// All vCPUs and chips; sections vm, vcpu.N and the chips'. Paused and all frozen (complete).
  void save(StateWriter& out);
  /// Into a VM of the same configuration. On failure everything is in reset state.
  [[nodiscard]] Result<void> load(const StateReader& in);

  /// vm_activate_cpu(): into the active set before it first runs, which would put it there anyway. EBUSY
  /// when it is there.
  [[nodiscard]] Result<void> activate_cpu(VcpuId id);

  /// One vCPU's counters; memory's go with vCPU 0. Any thread.
  void statistics(VcpuId id, const engine::EngineVcpu::StatSink& sink);

  // intc::CpuSink: ids out of range are ignored.
  void notify(VcpuId id) override;
  void nmi(VcpuId id) override;
  void extint(VcpuId id) override;
  void init(VcpuId id) override;
  void sipi(VcpuId id, u8 vector) override;

 private:
  friend class Vcpu;
  Vm(const VmConfig& config, std::unique_ptr<mem::Vmspace> space);
  void reset_cpus();
  [[nodiscard]] Result<void> load_parts(const StateReader& in);

  // For Vcpu, on its own thread.
  void activate(Vcpu& vcpu);
  /// Asks the other vCPUs that run to give up their host CPUs for a moment. Any thread.
  void make_room_for(VcpuId id);
  /// False when the vCPU must stay: an INIT or NMI is on its way, or it was the last one (the VM ends).
  [[nodiscard]] bool spin_down(Vcpu& vcpu);
  void join_halted(Vcpu& vcpu);
  void leave_halted(Vcpu& vcpu);
  void join_suspended(Vcpu& vcpu);
  [[nodiscard]] bool take_spinup(Vcpu& sender, Vcpu::Spinup& next);
  [[nodiscard]] Vcpu::Ipi take_ipi(Vcpu& sender);
  /// The vCPU on whose thread this runs, if its INITs and SIPIs are the caller's to do; or nullptr.
  [[nodiscard]] Vcpu* sender_outside() const;
  /// Makes `target` active; its thread is started by the vCPU on whose account this happens.
  /// sets_mutex_ held.
  void ask_for_thread(Vcpu& target, Vcpu::Spinup how);
  void end_if_all_halted();  ///< sets_mutex_ held
  [[nodiscard]] bool world_stops() const { return world_stops_.load(); }
  void wait_for_world();
  void tell_world();

  const VmConfig config_;
  const timer::TscClock tsc_;
  std::unique_ptr<mem::Vmspace> space_;
  std::unique_ptr<engine::Engine> engine_;
  CalloutWheel callouts_;
  std::vector<std::unique_ptr<Vcpu>> vcpus_;
  std::unique_ptr<Chips> chips_;

  IoTrace io_trace_;

  std::atomic<abi::SuspendHow> suspended_{abi::SuspendHow::none};
  std::mutex sets_mutex_;
  std::mutex world_mutex_;
  std::condition_variable world_changed_;
  bool world_busy_ = false;  ///< under world_mutex_
  std::atomic<bool> world_stops_{false};
};

}  // namespace bhyve::vmm
