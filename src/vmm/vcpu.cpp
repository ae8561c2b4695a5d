#include "vmm/vcpu.hpp"

#include <chrono>

#include "base/state.hpp"
#include "vmm/vm.hpp"
#include "x86/registers.hpp"

namespace bhyve::vmm {

using engine::StateGroups;
using engine::VcpuState;

Vcpu::Vcpu(Vm& vm, VcpuId id) : vm_(vm), id_(id), scratch_(std::make_unique<VcpuState>()) {}

Vcpu::~Vcpu() = default;

void Vcpu::notify_event() {
  switch (state_.observe()) {
    case RunState::running:
      engine_->kick();
      break;
    case RunState::sleeping:
      parker_.wake();
      break;
    case RunState::idle:
    case RunState::frozen:
      break;  // it looks at its events before it runs or sleeps
  }
}

void Vcpu::post(u32 event) {
  events_.fetch_or(event);
  notify_event();
}

void Vcpu::post_init() {
  events_.fetch_and(~u32{event_sipi});
  post(event_init);
}

void Vcpu::post_sipi(u8 vector) {
  // The flag is tested second: take_init() sets wait_sipi_ before it clears the flag.
  const bool init = (events_.load() & event_init) != 0;
  if (!init && !wait_sipi_.load()) return;
  sipi_vector_.store(vector);
  post(event_sipi);
}

void Vcpu::post_spinup(const Spinup& next) {
  spinups_.push_back(next);
  post(event_spinup);
}

/// One write to the ICR reaches its targets one by one.
void Vcpu::post_ipi(u32 mode, u8 vector, VcpuId target) {
  if (ipis_.empty() || ipis_.back().mode != mode || ipis_.back().vector != vector)
    ipis_.push_back({mode, vector, {}});
  ipis_.back().targets.push_back(target);
  post(event_ipi);
}

void Vcpu::resume_cpu() {
  events_.fetch_and(~u32{event_debug});
  notify_event();
}

void Vcpu::request_freeze() {
  freeze_requests_.fetch_add(1);
  notify_event();
}

void Vcpu::await_frozen(FreezeAt at) {
  const auto taken = [&] {
    if (!state_.try_change(RunState::idle, RunState::frozen)) return false;
    if (at == FreezeAt::any || !outstanding_.load()) return true;
    state_.change(RunState::idle);
    return false;
  };
  // A vCPU that does not come at once may be queued behind another on its host CPU, for a whole tick of
  // the host (4 ms) if nobody makes room.
  constexpr std::chrono::microseconds patience{200};
  std::unique_lock lock(freeze_mutex_);
  if (freeze_changed_.wait_for(lock, patience, taken)) return;
  vm_.make_room_for(id_);
  freeze_changed_.wait(lock, taken);
}

void Vcpu::thaw() {
  state_.change(RunState::idle);
  freeze_requests_.fetch_sub(1);
  tell_freeze_change();
}

/// Whoever waits has seen the change, or waits by now. The lock is free before it wakes up: woken onto
/// this host CPU it would only run into the lock and be away again.
void Vcpu::tell_freeze_change() {
  { const std::lock_guard lock(freeze_mutex_); }
  freeze_changed_.notify_all();
}

void Vcpu::store(StateGroups groups, VcpuState& out) {
  engine_->store(groups, out);
  if (has(groups, StateGroups::events)) out.halted = out.halted || halted_;
}

void Vcpu::load(StateGroups groups, const VcpuState& in) {
  engine_->load(groups, in);
  if (has(groups, StateGroups::msrs)) tsc_offset_.store(in.tsc_offset);
  if (has(groups, StateGroups::events)) halted_ = in.halted;
  if (halted_) {
    engine_->store(StateGroups::gprs | StateGroups::events, *scratch_);
    halted_if_ = (scratch_->rflags & x86::rflags::if_) != 0;
    halted_nmi_blocked_ = scratch_->nmi_blocked;
  }
}

void Vcpu::inject_exception(x86::Vector vector, bool has_error, u32 error) {
  engine_->inject_exception(vector, has_error, error);
  halted_ = false;
}

Result<void> Vcpu::set_capability(abi::Capability capability, bool on) {
  if (capability == abi::Capability::mask_hwintr) {
    mask_hwintr_.store(on);
    return {};
  }
  if (capability == abi::Capability::ipi_exit) {
    ipi_exit_.store(on);
    if (!active_.load()) wait_sipi_.store(id_ != 0 && !on);
    return {};
  }
  if (engine_->set_capability(capability, on)) return {};
  return fail(ENOENT, "vCPU {}: the engine has no capability {}", id_,
              static_cast<u32>(capability));
}

Result<bool> Vcpu::get_capability(abi::Capability capability) {
  if (capability == abi::Capability::mask_hwintr) return mask_hwintr_.load();
  if (capability == abi::Capability::ipi_exit) return ipi_exit_.load();
  bool on = false;
  if (engine_->get_capability(capability, on)) return on;
  return fail(ENOENT, "vCPU {}: the engine has no capability {}", id_,
              static_cast<u32>(capability));
}

void Vcpu::reset(u64 tsc_offset) {
  scratch_->reset(false);
  scratch_->tsc_offset = tsc_offset;
  load(StateGroups::all, *scratch_);
  events_.store(0);
  spinups_.clear();
  ipis_.clear();
  takes_startup_ = false;
  wait_sipi_.store(id_ != 0 && !ipi_exit_.load());
  outstanding_.store(false);
  debug_told_ = false;
}

void Vcpu::reset_to_sipi(u8 vector) {
  store(StateGroups::all, *scratch_);
  scratch_->reset(true);
  x86::Segment& cs = scratch_->seg[static_cast<usize>(x86::Seg::cs)];
  cs.selector = static_cast<u16>(vector << 8);
  cs.base = u64{vector} << 12;
  scratch_->rip = 0;
  load(StateGroups::all, *scratch_);
  wait_sipi_.store(false);
  outstanding_.store(false);
}

void Vcpu::refresh_tsc_offset() {
  engine_->store(StateGroups::msrs, *scratch_);
  tsc_offset_.store(scratch_->tsc_offset);
}

void Vcpu::statistics(const engine::EngineVcpu::StatSink& sink) const {
  for (usize i = 0; i < stat_count; ++i)
    sink(stat_text(static_cast<Stat>(i)), stats_.get(static_cast<Stat>(i)));
  vm_.chips().lapic(id_).stats().report(sink);
  engine_->statistics(sink);
}

}  // namespace bhyve::vmm
