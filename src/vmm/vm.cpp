#include "vmm/vm.hpp"

#include <algorithm>
#include <utility>

namespace bhyve::vmm {
namespace {

/// Delivery modes in their place in the ICR: what an exit for them tells.
constexpr u32 icr_init = 0x500, icr_startup = 0x600;

}  // namespace

Vm::Vm(const VmConfig& config, std::unique_ptr<mem::Vmspace> space)
    : config_(config),
      tsc_(config.tsc_hz != 0 ? timer::TscClock{config.tsc_hz} : timer::TscClock::measure()),
      space_(std::move(space)) {}

Result<std::unique_ptr<Vm>> Vm::create(const VmConfig& config, std::unique_ptr<mem::Vmspace> space,
                                       const EngineFactory& make_engine) {
  if (config.vcpus == 0 || config.vcpus > VmConfig::max_vcpus)
    return fail(EINVAL, "{} vCPUs: expected 1 to {}", config.vcpus, VmConfig::max_vcpus);
  std::unique_ptr<Vm> vm(new Vm(config, std::move(space)));
  auto engine = make_engine(*vm->space_);
  if (!engine) return tl::make_unexpected(engine.error());
  vm->engine_ = std::move(*engine);
  for (VcpuId id = 0; id < config.vcpus; ++id) {
    auto vcpu = std::make_unique<Vcpu>(*vm, id);
    auto core = vm->engine_->create_vcpu(id, *vcpu);
    if (!core) return tl::make_unexpected(core.error());
    vcpu->engine_ = std::move(*core);
    vm->vcpus_.push_back(std::move(vcpu));
  }
  vm->space_->pmap().set_notifier([&v = *vm] {
    for (auto& vcpu : v.vcpus_) vcpu->notify_event();
  });
  vm->space_->set_barrier([&v = *vm](u64 generation) {
    return std::ranges::all_of(v.vcpus_, [&](auto& vcpu) { return vcpu->passed(generation); });
  });
  vm->chips_ = std::make_unique<Chips>(*vm);
  vm->reset_cpus();
  return vm;
}

Vm::~Vm() {
  if (chips_) chips_->pause();
  if (space_) space_->stop_pager();
}

/// Power-up: the TSCs of all vCPUs start at zero together.
void Vm::reset_cpus() {
  const u64 zero = u64{0} - timer::TscClock::host_now();
  for (auto& vcpu : vcpus_) vcpu->reset(zero);
}

Result<void> Vm::suspend(abi::SuspendHow how) {
  if (how == abi::SuspendHow::none || how > abi::SuspendHow::triplefault)
    return fail(EINVAL, "suspend: {} is no reason", static_cast<u32>(how));
  abi::SuspendHow expected = abi::SuspendHow::none;
  if (!suspended_.compare_exchange_strong(expected, how))
    return fail(EALREADY, "suspend: the VM is suspended already");
  for (auto& vcpu : vcpus_) vcpu->notify_event();
  return {};
}

Result<void> Vm::reinit() {
  std::unique_lock lock(sets_mutex_);
  for (auto& vcpu : vcpus_) {
    const bool left = !vcpu->active_ || vcpu->in_suspended_set_;
    if (!left || vcpu->state() != RunState::idle)
      return fail(EBUSY, "vCPU {} is still in use", vcpu->id());
  }
  for (auto& vcpu : vcpus_) {
    vcpu->active_ = vcpu->in_suspended_set_ = vcpu->in_halted_set_ = false;
  }
  reset_cpus();
  lock.unlock();  // the chips' locks come first: an I/O APIC delivers NMI and INIT with its own held
  chips_->reset();
  suspended_.store(abi::SuspendHow::none);
  return {};
}

void Vm::statistics(VcpuId id, const engine::EngineVcpu::StatSink& sink) {
  vcpus_[id]->statistics(sink);
  if (id != 0 || !space_) return;
  sink("Resident memory", space_->resident_bytes());
  const mem::VmspaceStats s = space_->stats();
  sink("Wired memory", s.wired_bytes);
  sink("Swapped memory", s.pager.swapped << page_shift);
  sink("pages written to swap", s.pager.written);
  sink("pages read from swap", s.pager.read);
  sink("pages of zeros given back", s.pager.zero_drops);
  sink("clean pages given back", s.pager.clean_drops);
  sink("EPT page table pages", s.table_pages);
  sink("EPT invalidations", s.pmap.invalidations);
  sink("EPT superpage promotions", s.pmap.promotions);
  sink("EPT superpage promotion failures", s.pmap.promotion_failures);
  sink("EPT superpage demotions", s.pmap.demotions);
  sink("EPT superpage mappings", s.pmap.mappings);
  sink("EPT accessed bit emulations", s.pmap.accessed_emulations);
  sink("EPT superpage accessed bit emulations", s.pmap.superpage_accessed_emulations);
  sink("EPT dirty bit emulations", s.pmap.dirty_emulations);
  sink("EPT promotions by emulation", s.pmap.emulation_promotions);
}

void Vm::notify(VcpuId id) {
  if (id < vcpus_.size()) vcpus_[id]->notify_event();
}

void Vm::nmi(VcpuId id) {
  if (id >= vcpus_.size()) return;
  Vcpu& target = *vcpus_[id];
  const std::lock_guard lock(sets_mutex_);
  if (target.active_ || id == 0) return target.post_nmi();
  // A processor that waits for SIPI takes no NMI. One that was spun down is in HLT, which NMI ends.
  if (target.wait_sipi_) return;
  target.events_.fetch_or(Vcpu::event_nmi);
  if (!target.halted_nmi_blocked_) ask_for_thread(target, {id, 0, Vcpu::Spinup::Kind::wake});
}

void Vm::extint(VcpuId id) {
  if (id < vcpus_.size()) vcpus_[id]->notify_event();
}

void Vm::init(VcpuId id) {
  if (id >= vcpus_.size()) return;
  Vcpu& target = *vcpus_[id];
  const std::lock_guard lock(sets_mutex_);
  if (Vcpu* const sender = sender_outside()) {
    // An active vCPU's local APIC is its own thread's.
    if (target.active_) target.post(Vcpu::event_lapic);
    else chips_->init_lapic(id);
    target.takes_startup_ = true;
    return sender->post_ipi(icr_init, 0, id);
  }
  if (target.active_) return target.post_init();
  // Nobody runs it: the sender does what its thread would do. Its registers are set by SIPI.
  chips_->init_lapic(id);
  target.events_.fetch_and(~u32{Vcpu::event_nmi});
  target.wait_sipi_ = id != 0;
}

void Vm::sipi(VcpuId id, u8 vector) {
  if (id >= vcpus_.size()) return;
  Vcpu& target = *vcpus_[id];
  const std::lock_guard lock(sets_mutex_);
  if (Vcpu* const sender = sender_outside()) {
    if (std::exchange(target.takes_startup_, false)) sender->post_ipi(icr_startup, vector, id);
    return;
  }
  target.takes_startup_ = false;
  if (target.active_) return target.post_sipi(vector);
  if (!target.wait_sipi_) return;
  ask_for_thread(target, {id, vector, Vcpu::Spinup::Kind::startup});
}

}  // namespace bhyve::vmm
