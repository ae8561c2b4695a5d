#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "base/state.hpp"
#include "engine/client.hpp"
#include "engine/engine.hpp"
#include "vmm/parker.hpp"
#include "vmm/run_state.hpp"
#include "vmm/vcpu_stats.hpp"

namespace bhyve::vmm {

class Vm;

/// One virtual CPU: its state, the events that wait for it, and the inner of bhyve's two run loops.
///
/// Events are flags that any thread sets before notify_event(); the vCPU's thread looks at them
/// after each change of its run state. Both sides use sequentially consistent locked operations, so
/// that one of them sees the other: no event is lost.
class Vcpu final : public engine::Client {
 public:
  Vcpu(Vm& vm, VcpuId id);
  ~Vcpu() override;
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;

  [[nodiscard]] VcpuId id() const { return id_; }
  [[nodiscard]] RunState state() const { return state_.get(); }
  [[nodiscard]] const VcpuStats& stats() const { return stats_; }
  /// The vCPU whose run() is on the calling thread's stack, or nullptr.
  [[nodiscard]] static Vcpu* current();

  /// vm_run(): executes the guest until the machine must act. `exit` is the same record on every
  /// call; the caller's answer to inout, inst_emul, rdmsr and wrmsr goes in with it. Leaves with
  ///   inout, inst_emul, rdmsr, wrmsr      to be answered
  ///   ipi                                 with ipi_exit: INIT or SIPI for ipi_targets()
  ///   pause, bpt, mtrap, db               with the capabilities of these names
  ///   spinup_ap                           start a thread that runs vCPU exit.spinup_ap.vcpu
  ///   spindown_cpu                        end this thread; SPINUP_AP may come for it later
  ///   suspended                           the VM ends for the reason exit.suspend
  ///   debug                               suspend_cpu(); the next call blocks until resume_cpu()
  ///   paging, vmx, svm, inout_str, task_switch    as the engine reports them
  /// One thread at a time; blocks while a controller has frozen the vCPU.
  void run(engine::Exit& exit);

  /// vcpu_notify_event(): makes the vCPU look at its events. Any thread, never blocks.
  void notify_event();

  /// For whom the INIT or SIPI is with which run() came back last. The vCPU's own thread.
  [[nodiscard]] const std::vector<VcpuId>& ipi_targets() const { return ipi_targets_; }

  // Events. Any thread; remembered until taken.
  /// vm_inject_nmi() for an active vCPU; Vm::nmi() is for any.
  void post_nmi() { post(event_nmi); }
  /// vm_suspend_cpu(): stops the vCPU before its next instruction; vm_resume_cpu() ends that.
  void suspend_cpu() { post(event_debug); }
  void resume_cpu();
  [[nodiscard]] bool cpu_suspended() const { return (events_.load() & event_debug) != 0; }

  /// In the active set: started and neither spun down nor waiting for its first SIPI.
  [[nodiscard]] bool active() const { return active_.load(); }
  [[nodiscard]] bool waits_for_sipi() const { return wait_sipi_.load(); }
  [[nodiscard]] bool nmi_pending() const { return (events_.load() & event_nmi) != 0; }

  /// How far an instruction that left to the machine must have come.
  enum class FreezeAt : u8 {
    any,       ///< an access may be outstanding: for looking at registers
    complete,  ///< none is: for saving. Not from a thread that itself owes an answer
  };
  /// Takes the vCPU out of run() or keeps it out, in state FROZEN: request on all, then await each.
  /// Every request is followed by await_frozen() and thaw(). Any thread outside of run().
  void request_freeze();
  void await_frozen(FreezeAt at);
  void thaw();

  // The members below only while the caller holds the vCPU frozen, or before it ever ran.
  void store(engine::StateGroups groups, engine::VcpuState& out);
  void load(engine::StateGroups groups, const engine::VcpuState& in);
  /// vm_inject_exception(); delivered at the next entry.
  void inject_exception(x86::Vector vector, bool has_error, u32 error);
  /// vm_set_capability(): ENOENT when the engine does not have it. Two are the vmm's own: ipi_exit,
  /// with which INIT and SIPI that this vCPU sends, and its own start, are the caller's to do; and
  /// mask_hwintr, which holds interrupts off but NMI.
  [[nodiscard]] Result<void> set_capability(abi::Capability capability, bool on);
  [[nodiscard]] Result<bool> get_capability(abi::Capability capability);
  /// Power-up state: vCPU 0 at the reset vector, the others wait for SIPI. `tsc_offset` starts the
  /// guest's TSC.
  void reset(u64 tsc_offset);
  /// State after INIT and SIPI: real mode at vector << 12.
  void reset_to_sipi(u8 vector);
  void save(StateWriter& out);
  /// `tsc_delta` is added to the TSC offset: the host's TSC is another one now.
  [[nodiscard]] Result<void> load_saved(const StateReader& in, u64 tsc_delta);

  /// Does not execute the guest with translations from before this generation of the pmap. Any
  /// thread.
  [[nodiscard]] bool passed(u64 generation) {
    return state_.observe() != RunState::running || engine_->generation_seen() >= generation;
  }

  [[nodiscard]] u64 tsc_offset() const { return tsc_offset_.load(); }
  /// Counters of the vmm and the engine by FreeBSD's texts. Any thread.
  void statistics(const engine::EngineVcpu::StatSink& sink) const;

  // engine::Client
  Access mmio(VcpuId vcpu, Gpa gpa, unsigned size, u64& value, Dir dir) override;
  Access pio(VcpuId vcpu, u16 port, unsigned size, u32& value, Dir dir) override;
  Access msr(VcpuId vcpu, u32 number, u64& value, Dir dir) override;
  void tsc_written(VcpuId vcpu, u64 offset) override;
  void before_clock(VcpuId vcpu) override;
  u8 cr8(VcpuId vcpu) override;
  void set_cr8(VcpuId vcpu, u8 value) override;
  Pending pending(VcpuId vcpu) override;
  void accept_nmi(VcpuId vcpu) override;
  int accept_interrupt(VcpuId vcpu) override;
  bool x2apic_enabled(VcpuId vcpu) override;
  bool apic_enabled(VcpuId vcpu) override;
  Gpa apic_page(VcpuId vcpu) override;
  void ferr(VcpuId vcpu) override;

 private:
  friend class Vm;
  /// Interrupts have no flag: the chips are asked.
  enum Event : u32 {
    event_nmi = 1,
    event_init = 2,
    event_sipi = 4,
    event_spinup = 8,
    event_debug = 16,
    event_ipi = 32,
    event_lapic = 64,  ///< its local APIC takes an INIT; its registers are the caller's
    event_yield = 128  ///< somebody waits for another vCPU, which may wait for this one's host CPU
  };
  static constexpr u32 events_that_leave =
      event_init | event_spinup | event_debug | event_ipi | event_lapic | event_yield;
  /// What a sleeping vCPU waits for.
  enum class Wait : u8 { halted, sipi, resume };

  void post(u32 event);
  /// Vm holds its sets lock.
  void post_init();
  void post_sipi(u8 vector);
  struct Spinup;
  void post_spinup(const Spinup& next);
  void post_ipi(u32 mode, u8 vector, VcpuId target);

  // Run loop (vcpu_run.cpp); vCPU thread, FROZEN.
  void trace_answer(const engine::Exit& exit);
  void begin_run(bool answered);
  void end_run();
  [[nodiscard]] bool leaves_for_request(engine::Exit& exit);
  void enter_guest(engine::Exit& exit, bool answered);
  [[nodiscard]] bool handled_inside(engine::Exit& exit);
  [[nodiscard]] bool resolved(const engine::Exit::Paging& fault);
  void count_exit(const engine::Exit& exit);
  [[nodiscard]] bool must_leave() const;
  void give_way();
  void tell_freeze_change();
  void take_init();
  [[nodiscard]] bool leaves_for_spinup(engine::Exit& exit);
  void leave_for_ipi(engine::Exit& exit);

  // Sleep (vcpu_sleep.cpp); vCPU thread, FROZEN.
  void note_halt(bool interrupts_enabled);
  [[nodiscard]] bool leaves_from_halt(engine::Exit& exit);
  [[nodiscard]] bool halt_is_over() const;
  [[nodiscard]] bool interrupt_pending() const;
  [[nodiscard]] bool has_work(Wait wait) const;
  void sleep(Wait wait);
  void adapt_spin(Nanos slept);

  void refresh_tsc_offset();

  Vm& vm_;
  const VcpuId id_;
  std::unique_ptr<engine::EngineVcpu> engine_;  ///< set by Vm::create

  RunStateWord state_;
  Parker parker_;
  std::atomic<u32> events_{0};
  std::atomic<u32> sipi_vector_{0};
  std::atomic<bool> active_{false};     ///< written under Vm::sets_mutex_
  std::atomic<bool> wait_sipi_{false};  ///< active: own thread; else under Vm::sets_mutex_
  std::atomic<u64> tsc_offset_{0};      ///< copy of the engine's; written by the owner

  std::atomic<u32> freeze_requests_{0};
  std::mutex freeze_mutex_;  ///< for freeze_changed_ only
  std::condition_variable freeze_changed_;
  std::atomic<bool> outstanding_{false};  ///< the machine owes an answer; written by the owner

  // Owner of the vCPU (its thread, or who froze it).
  bool halted_ = false, halted_if_ = false, halted_nmi_blocked_ = false;
  bool debug_told_ = false;
  int host_cpu_ = -1;
  Nanos spin_ = 0;
  Nanos idle_nanos_ = 0;
  std::unique_ptr<engine::VcpuState> scratch_;

  // Under Vm::sets_mutex_.
  bool in_halted_set_ = false, in_suspended_set_ = false;
  /// A vCPU for which the machine is to start a thread.
  struct Spinup {
    enum class Kind : u8 {
      startup,  ///< SIPI: begins at vector << 12
      wake      ///< NMI after it was spun down: goes on where it is
    };
    VcpuId vcpu;
    u8 vector;
    Kind kind;
  };
  std::deque<Spinup> spinups_;
  /// With ipi_exit: what the caller of run() is to do, in order.
  struct Ipi {
    u32 mode;
    u8 vector;
    std::vector<VcpuId> targets;
  };
  std::deque<Ipi> ipis_;
  bool takes_startup_ = false;  ///< an INIT that a vCPU with ipi_exit sent: SIPI may follow

  std::atomic<bool> ipi_exit_{false};     ///< capability; written while frozen
  std::atomic<bool> mask_hwintr_{false};  ///< capability; written while frozen
  std::vector<VcpuId> ipi_targets_;       ///< of the last exit; the owner's

  bool stopped_ = false;  ///< under Vm::world_mutex_: RUNNING, but waits in Vm::rendezvous()
  VcpuStats stats_;
};

}  // namespace bhyve::vmm
