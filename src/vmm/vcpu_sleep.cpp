#include <algorithm>

#include "vmm/vcpu.hpp"
#include "vmm/vm.hpp"

namespace bhyve::vmm {
namespace {

/// How long a vCPU spins before it blocks: doubled while wake-ups come that soon, halved while they
/// do not, so that an idle guest does not spin at all.
constexpr Nanos spin_first = 10'000, spin_most = 50'000;

}  // namespace

void Vcpu::note_halt(bool interrupts_enabled) {
  halted_ = true;
  halted_if_ = interrupts_enabled;
  engine_->store(engine::StateGroups::events, *scratch_);
  halted_nmi_blocked_ = scratch_->nmi_blocked;
}

/// With interrupts disabled neither the IRR nor ExtINT ends HLT.
bool Vcpu::halt_is_over() const {
  const u32 events = events_.load();
  if ((events & event_nmi) && !halted_nmi_blocked_) return true;
  return halted_if_ && interrupt_pending();
}

bool Vcpu::interrupt_pending() const {
  return !mask_hwintr_.load(std::memory_order_relaxed) && vm_.chips().interrupt_pending(id_);
}

bool Vcpu::has_work(Wait wait) const {
  const u32 events = events_.load();
  if ((events & (events_that_leave & ~u32{event_debug})) || freeze_requests_.load() != 0 ||
      vm_.suspended() != abi::SuspendHow::none)
    return true;
  switch (wait) {
    case Wait::halted:
      return (events & event_debug) || halt_is_over();
    case Wait::sipi:
      return (events & (event_sipi | event_debug)) != 0;
    case Wait::resume:
      return (events & event_debug) == 0;
  }
  return true;
}

/// The vCPU is in HLT: goes on, sleeps, ends its thread or ends the VM. True: run() returns `exit`.
bool Vcpu::leaves_from_halt(engine::Exit& exit) {
  if (halt_is_over()) {
    halted_ = false;
    return false;
  }
  // With its APIC off a vCPU hears no interrupt any more. Not so the BSP, which is wired to the
  // PIC.
  if (id_ != 0 && !vm_.chips().lapic_enabled(id_) && vm_.spin_down(*this)) {
    exit.code = abi::ExitCode::spindown_cpu;
    return true;
  }
  if (halted_if_) {
    sleep(Wait::halted);
    return false;
  }
  vm_.join_halted(*this);  // may suspend the VM, which ends the sleep at once
  sleep(Wait::halted);
  vm_.leave_halted(*this);
  return false;
}

/// While it sleeps the vCPU runs its own callouts (architecture decision 12).
void Vcpu::sleep(Wait wait) {
  CalloutWheel& wheel = vm_.callouts();
  const Nanos start = monotonic_now();
  Nanos now = start;
  state_.change(RunState::sleeping);
  Nanos deadline = wheel.claim(id_, [this] { parker_.wake(); });
  while (!has_work(wait)) {
    now = monotonic_now();
    if (deadline <= now) {
      deadline = wheel.run_due(id_, now);
    } else if (now - start < spin_) {
      __builtin_ia32_pause();
    } else {
      parker_.park(deadline);
      deadline = wheel.run_due(id_, monotonic_now());
    }
  }
  wheel.unclaim(id_);
  state_.change(RunState::frozen);
  if (wait == Wait::halted) adapt_spin(monotonic_now() - start);
}

void Vcpu::adapt_spin(Nanos slept) {
  if (slept <= spin_most)
    spin_ = std::min(std::max(spin_ * 2, spin_first), spin_most);
  else
    spin_ = spin_ / 2 < spin_first ? 0 : spin_ / 2;
  constexpr Nanos tick = nanos_per_second / 1000;  // FreeBSD's kern.hz
  idle_nanos_ += slept;
  stats_.add(Stat::idle, idle_nanos_ / tick);
  idle_nanos_ %= tick;
}

}  // namespace bhyve::vmm
