#include <fmt/format.h>

#include <utility>

#include "base/state.hpp"
#include "vmm/vm.hpp"

/// Saved state of the vmm: section "vm", one "vcpu.N" each, then the chips' own sections.
namespace bhyve::vmm {
namespace {

constexpr u32 version = 1;

using engine::VcpuState;

/// Walks every integer of a VcpuState in the order of the format; writer and reader share it.
template <class State, class Visit>
void visit(State& s, Visit&& v) {
  for (auto& x : s.gpr) v(x);
  v(s.rip), v(s.rflags);
  v(s.cr0), v(s.cr2), v(s.cr3), v(s.cr4), v(s.efer), v(s.xcr0);
  for (auto& x : s.seg) v(x.selector), v(x.access), v(x.limit), v(x.base);
  v(s.gdtr.base), v(s.gdtr.limit), v(s.idtr.base), v(s.idtr.limit);
  for (auto& x : s.dr) v(x);
  v(s.dr6), v(s.dr7);
  v(s.fs_kernel_gs_base), v(s.star), v(s.lstar), v(s.cstar), v(s.sfmask);
  v(s.sysenter_cs), v(s.sysenter_esp), v(s.sysenter_eip);
  v(s.tsc_aux), v(s.pat), v(s.misc_enable), v(s.tsc_offset), v(s.tsc_adjust);
  v(s.mtrr_def_type);
  for (auto& x : s.mtrr_fixed) v(x);
  for (auto& x : s.mtrr_variable) v(x);
  v(s.xss), v(s.mc_enabled);
  v(s.interrupt_shadow), v(s.nmi_blocked), v(s.halted);
}

struct Put {
  StateWriter& out;
  void operator()(bool x) { out.put_bool(x); }
  void operator()(u16 x) { out.put_u16(x); }
  void operator()(u32 x) { out.put_u32(x); }
  void operator()(u64 x) { out.put_u64(x); }
};

struct Get {
  StateSection& in;
  void operator()(bool& x) { x = in.get_bool(); }
  void operator()(u16& x) { x = in.get_u16(); }
  void operator()(u32& x) { x = in.get_u32(); }
  void operator()(u64& x) { x = in.get_u64(); }
};

}  // namespace

void Vcpu::save(StateWriter& out) {
  store(engine::StateGroups::all, *scratch_);
  out.section(fmt::format("vcpu.{}", id_), version, [&](StateWriter& body) {
    visit(std::as_const(*scratch_), Put{body});
    body.put_bytes(scratch_->xsave);
    body.put_bool(active_);
    body.put_bool(wait_sipi_);
    body.put_u32(events_ & (event_nmi | event_init | event_sipi | event_debug));
    body.put_u8(static_cast<u8>(sipi_vector_));
  });
}

Result<void> Vcpu::load_saved(const StateReader& in, u64 tsc_delta) {
  VcpuState& state = *scratch_;
  bool active = false, wait_sipi = false;
  u32 events = 0;
  u8 vector = 0;
  auto read = in.section(fmt::format("vcpu.{}", id_), version, [&](StateSection& body) {
    visit(state, Get{body});
    body.get_bytes(state.xsave);
    active = body.get_bool();
    wait_sipi = body.get_bool();
    events = body.get_u32();
    vector = body.get_u8();
    if (events >= event_debug * 2 || (events & event_spinup)) body.reject();
  });
  if (!read) return read;
  state.tsc_offset += tsc_delta;
  load(engine::StateGroups::all, state);
  active_ = active;
  wait_sipi_ = wait_sipi;
  events_ = events;
  sipi_vector_ = vector;
  outstanding_ = false;
  return {};
}

void Vm::save(StateWriter& out) {
  out.section("vm", version, [&](StateWriter& body) {
    body.put_u32(vcpu_count());
    body.put_u32(static_cast<u32>(suspended()));
    body.put_u64(timer::TscClock::host_now());
    const std::lock_guard lock(sets_mutex_);
    for (auto& vcpu : vcpus_) {
      body.put_u32(static_cast<u32>(vcpu->spinups_.size()));
      for (const auto& [target, vector, kind] : vcpu->spinups_) {
        body.put_u32(target);
        body.put_u8(vector);
        body.put_u8(static_cast<u8>(kind));
      }
    }
  });
  for (auto& vcpu : vcpus_) vcpu->save(out);
  chips_->save(out);
}

Result<void> Vm::load(const StateReader& in) {
  auto loaded = load_parts(in);
  if (loaded) return loaded;
  reset_cpus();
  chips_->reset();
  suspended_ = abi::SuspendHow::none;
  for (auto& vcpu : vcpus_) vcpu->active_ = false;
  return loaded;
}

Result<void> Vm::load_parts(const StateReader& in) {
  u32 how = 0;
  u64 tsc_then = 0;
  std::vector<std::deque<Vcpu::Spinup>> spinups(vcpus_.size());
  auto read = in.section("vm", version, [&](StateSection& body) {
    if (body.get_u32() != vcpu_count()) return body.reject();
    how = body.get_u32();
    if (how > static_cast<u32>(abi::SuspendHow::triplefault)) body.reject();
    tsc_then = body.get_u64();
    for (auto& queue : spinups) {
      for (u32 n = body.get_u32(); n > 0 && body.ok(); --n) {
        const u32 target = body.get_u32();
        if (target >= vcpu_count()) return body.reject();
        const u8 vector = body.get_u8();
        const u8 kind = body.get_u8();
        if (kind > static_cast<u8>(Vcpu::Spinup::Kind::wake)) return body.reject();
        queue.push_back({target, vector, static_cast<Vcpu::Spinup::Kind>(kind)});
      }
    }
  });
  if (!read) return read;
  const u64 delta = tsc_then - timer::TscClock::host_now();
  for (auto& vcpu : vcpus_) {
    if (auto loaded = vcpu->load_saved(in, delta); !loaded) return loaded;
  }
  if (auto loaded = chips_->load(in); !loaded) return loaded;
  suspended_ = static_cast<abi::SuspendHow>(how);
  const std::lock_guard lock(sets_mutex_);
  for (usize i = 0; i < vcpus_.size(); ++i) {
    Vcpu& vcpu = *vcpus_[i];
    vcpu.in_halted_set_ = vcpu.in_suspended_set_ = false;
    vcpu.spinups_ = std::move(spinups[i]);
    if (!vcpu.spinups_.empty()) vcpu.events_.fetch_or(Vcpu::event_spinup);
  }
  return {};
}

}  // namespace bhyve::vmm
