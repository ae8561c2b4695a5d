#include "vmm/vm.hpp"

#include <utility>

/// Which vCPUs are active, halted with interrupts off, and suspended; and the stop of the world.
namespace bhyve::vmm {

void Vm::activate(Vcpu& vcpu) {
  if (vcpu.active_.load(std::memory_order_relaxed)) return;
  const std::lock_guard lock(sets_mutex_);
  vcpu.active_ = true;
}

Result<void> Vm::activate_cpu(VcpuId id) {
  const std::lock_guard lock(sets_mutex_);
  if (vcpus_[id]->active_.exchange(true)) return fail(EBUSY, "vCPU {} is active already", id);
  return {};
}

bool Vm::spin_down(Vcpu& vcpu) {
  const std::lock_guard lock(sets_mutex_);
  const u32 events = vcpu.events_.load();
  if (events & Vcpu::event_init) return false;
  if (vcpu.takes_startup_) return false;  // its local APIC is off by an INIT that is somebody's to do
  if ((events & Vcpu::event_nmi) && !vcpu.halted_nmi_blocked_) return false;
  bool others = false;
  for (auto& other : vcpus_) others |= other.get() != &vcpu && other->active_;
  if (!others) {
    static_cast<void>(suspend(abi::SuspendHow::halt));  // EALREADY is as good
    return false;
  }
  vcpu.active_ = false;
  vcpu.halted_ = false;
  end_if_all_halted();
  return true;
}

void Vm::join_halted(Vcpu& vcpu) {
  const std::lock_guard lock(sets_mutex_);
  vcpu.in_halted_set_ = true;
  end_if_all_halted();
}

void Vm::leave_halted(Vcpu& vcpu) {
  const std::lock_guard lock(sets_mutex_);
  vcpu.in_halted_set_ = false;
}

/// No vCPU is left that could send anything to another, and nothing is on its way.
void Vm::end_if_all_halted() {
  if (!config_.halt_detection) return;
  for (auto& vcpu : vcpus_) {
    if (!vcpu->active_) continue;
    const bool dead = (vcpu->in_halted_set_ || vcpu->wait_sipi_) && vcpu->events_ == 0;
    if (!dead) return;
  }
  static_cast<void>(suspend(abi::SuspendHow::halt));  // EALREADY is as good
}

void Vm::join_suspended(Vcpu& vcpu) {
  const std::lock_guard lock(sets_mutex_);
  vcpu.in_suspended_set_ = true;
}

void Vm::ask_for_thread(Vcpu& target, Vcpu::Spinup how) {
  // The exit that starts its thread belongs to the vCPU whose ICR write it was.
  Vcpu* sender = Vcpu::current();
  if (sender == nullptr || &sender->vm_ != this) sender = vcpus_.front().get();
  target.wait_sipi_ = false;
  target.active_ = true;
  sender->post_spinup(how);
}

bool Vm::take_spinup(Vcpu& sender, Vcpu::Spinup& next) {
  const std::lock_guard lock(sets_mutex_);
  if (sender.spinups_.size() <= 1) sender.events_.fetch_and(~u32{Vcpu::event_spinup});
  if (sender.spinups_.empty()) return false;
  next = sender.spinups_.front();
  sender.spinups_.pop_front();
  return true;
}

Vcpu::Ipi Vm::take_ipi(Vcpu& sender) {
  const std::lock_guard lock(sets_mutex_);
  Vcpu::Ipi next = std::move(sender.ipis_.front());
  sender.ipis_.pop_front();
  if (sender.ipis_.empty()) sender.events_.fetch_and(~u32{Vcpu::event_ipi});
  return next;
}

Vcpu* Vm::sender_outside() const {
  Vcpu* const sender = Vcpu::current();
  return sender && &sender->vm_ == this && sender->ipi_exit_.load() ? sender : nullptr;
}

void Vm::rendezvous(const std::function<void()>& function) {
  Vcpu* const self = Vcpu::current() && &Vcpu::current()->vm_ == this ? Vcpu::current() : nullptr;
  std::unique_lock lock(world_mutex_);
  if (self) self->stopped_ = true;  // does not keep the one before us waiting
  world_changed_.notify_all();
  world_changed_.wait(lock, [&] { return !world_busy_; });
  world_busy_ = true;
  world_stops_.store(true);
  for (auto& vcpu : vcpus_) {
    if (vcpu.get() != self) vcpu->notify_event();
  }
  world_changed_.wait(lock, [&] {
    for (auto& vcpu : vcpus_) {
      if (!vcpu->stopped_ && vcpu->state() == RunState::running) return false;
    }
    return true;
  });
  function();
  world_stops_.store(false);
  world_busy_ = false;
  if (self) self->stopped_ = false;
  world_changed_.notify_all();
}

void Vm::make_room_for(VcpuId id) {
  for (auto& vcpu : vcpus_)
    if (vcpu->id() != id && vcpu->state() == RunState::running) vcpu->post(Vcpu::event_yield);
}

void Vm::wait_for_world() {
  std::unique_lock lock(world_mutex_);
  world_changed_.notify_all();
  world_changed_.wait(lock, [this] { return !world_stops_.load(); });
}

void Vm::tell_world() {
  const std::lock_guard lock(world_mutex_);
  world_changed_.notify_all();
}

void Vm::with_frozen(VcpuId id, Vcpu::FreezeAt at, const std::function<void(Vcpu&)>& function) {
  Vcpu& target = *vcpus_[id];
  target.request_freeze();
  target.await_frozen(at);
  function(target);
  target.thaw();
}

void Vm::with_all_frozen(Vcpu::FreezeAt at, const std::function<void()>& function) {
  for (auto& vcpu : vcpus_) vcpu->request_freeze();
  for (auto& vcpu : vcpus_) vcpu->await_frozen(at);
  function();
  for (auto& vcpu : vcpus_) vcpu->thaw();
}

}  // namespace bhyve::vmm
