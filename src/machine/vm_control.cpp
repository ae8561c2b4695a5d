#include "machine/vm_control.hpp"

#include <unistd.h>

#include <ctime>
#include <utility>

#include "machine/inspect.hpp"
#include "machine/register_table.hpp"
#include "machine/translate.hpp"
#include "timer/tsc.hpp"
#include "timer/vrtc_calendar.hpp"

namespace bhyve::machine {
namespace {

using engine::StateGroups;
using engine::VcpuState;
using vmm::Vcpu;

double seconds_of(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

tl::unexpected<Error> no_register(std::string_view name) {
  return fail(EINVAL, "register '{}' does not exist", name.substr(0, 32));
}

const char* state_word(vmm::RunState state) {
  switch (state) {
    case vmm::RunState::idle: return "idle";
    case vmm::RunState::frozen: return "frozen";
    case vmm::RunState::running: return "running";
    case vmm::RunState::sleeping: return "sleeping";
  }
  return "";
}

const char* end_word(abi::SuspendHow how) {
  switch (how) {
    case abi::SuspendHow::none: return "running";
    case abi::SuspendHow::reset: return "reset";
    case abi::SuspendHow::poweroff: return "poweroff";
    case abi::SuspendHow::halt: return "halt";
    case abi::SuspendHow::triplefault: return "triplefault";
  }
  return "";
}

}  // namespace

void VmControl::control(vmm::Vm& vm, const engine::CpuConfig& cpu, Pinning* pinning,
                        Vcpu::FreezeAt change_at) {
  vm_ = &vm;
  cpu_ = &cpu;
  pinning_ = pinning;
  change_at_ = change_at;
  since_ = seconds_of(CLOCK_MONOTONIC);
}

Result<void> VmControl::check_vcpu(u64 vcpu) const {
  const u32 count = vm_->vcpu_count();
  if (vcpu < count) return {};
  return fail(EINVAL, "vCPU {}: expected 0 to {}", vcpu, count - 1);
}

template <class Change>
Result<void> VmControl::change_state(u64 vcpu, StateGroups groups, Change change) {
  if (auto ok = check_vcpu(vcpu); !ok) return ok;
  vm_->with_frozen(static_cast<VcpuId>(vcpu), change_at_, [&](Vcpu& cpu) {
    VcpuState state;
    cpu.store(groups, state);
    change(state);
    cpu.load(groups, state);
  });
  return {};
}

template <class Read>
Result<void> VmControl::read_state(u64 vcpu, StateGroups groups, Read read) {
  if (auto ok = check_vcpu(vcpu); !ok) return ok;
  VcpuState state;
  vm_->with_frozen(static_cast<VcpuId>(vcpu), Vcpu::FreezeAt::any,
                   [&](Vcpu& cpu) { cpu.store(groups, state); });
  read(state);
  return {};
}

Result<VcpuRegisters> VmControl::registers(u64 vcpu) {
  if (auto ok = check_vcpu(vcpu); !ok) return tl::make_unexpected(ok.error());
  return read_registers(*vm_, static_cast<VcpuId>(vcpu));
}

Result<u64> VmControl::get_register(u64 vcpu, std::string_view name) {
  const NamedRegister* const reg = find_register(name);
  if (!reg) return no_register(name);
  u64 value = 0;
  auto ok = read_state(vcpu, reg->group, [&](const VcpuState& s) { value = reg->get(s); });
  if (!ok) return tl::make_unexpected(ok.error());
  return value;
}

Result<void> VmControl::set_register(u64 vcpu, std::string_view name, u64 value) {
  const NamedRegister* const reg = find_register(name);
  if (!reg) return no_register(name);
  if (reg->writable == 0) return fail(EINVAL, "register '{}' cannot be set", name);
  if (const u64 wrong = value & ~reg->writable)
    return fail(EINVAL, "{}={:#x}: bits {:#x} must be 0", name, value, wrong);
  return change_state(vcpu, reg->group, [&](VcpuState& s) { reg->set(s, value); });
}

Result<DescriptorValue> VmControl::get_descriptor(u64 vcpu, std::string_view name) {
  const NamedDescriptor* const known = find_descriptor(name);
  if (!known) return no_register(name);
  DescriptorValue out{std::string(name), 0, 0, 0, 0};
  auto ok = read_state(vcpu, StateGroups::segments, [&](VcpuState& s) {
    if (known->segment) {
      const x86::Segment& seg = *known->segment(s);
      out.base = seg.base, out.limit = seg.limit, out.access = seg.access;
      out.selector = seg.selector;
    } else {
      out.base = known->table(s)->base, out.limit = known->table(s)->limit;
    }
  });
  if (!ok) return tl::make_unexpected(ok.error());
  return out;
}

Result<void> VmControl::set_descriptor(u64 vcpu, const DescriptorValue& value) {
  const NamedDescriptor* const known = find_descriptor(value.name);
  if (!known) return no_register(value.name);
  constexpr u32 access_bits = 0x1f0ff;  // type to P, AVL to G, unusable
  if (known->table && (value.limit > 0xffff || value.access != 0))
    return fail(EINVAL, "{}: expected a limit up to 0xffff and no access rights", value.name);
  if (value.access & ~access_bits)
    return fail(EINVAL, "{}: access {:#x} has bits outside of {:#x}", value.name, value.access,
                access_bits);
  return change_state(vcpu, StateGroups::segments, [&](VcpuState& s) {
    if (known->segment) {
      x86::Segment& seg = *known->segment(s);
      seg.base = value.base, seg.limit = value.limit, seg.access = value.access;
    } else {
      *known->table(s) = {value.base, static_cast<u16>(value.limit)};
    }
  });
}

Result<void> VmControl::reset_vcpu(u64 vcpu) {
  if (auto ok = check_vcpu(vcpu); !ok) return ok;
  const auto id = static_cast<VcpuId>(vcpu);
  vm_->with_frozen(id, Vcpu::FreezeAt::any,
                   [](Vcpu& cpu) { cpu.reset(u64{0} - timer::TscClock::host_now()); });
  return {};
}

Result<bool> VmControl::get_capability(u64 vcpu, abi::Capability capability) {
  if (auto ok = check_vcpu(vcpu); !ok) return tl::make_unexpected(ok.error());
  Result<bool> out;
  vm_->with_frozen(static_cast<VcpuId>(vcpu), Vcpu::FreezeAt::any,
                   [&](Vcpu& cpu) { out = cpu.get_capability(capability); });
  return out;
}

Result<void> VmControl::set_capability(u64 vcpu, abi::Capability capability, bool on) {
  if (auto ok = check_vcpu(vcpu); !ok) return ok;
  Result<void> out;
  vm_->with_frozen(static_cast<VcpuId>(vcpu), change_at_,
                   [&](Vcpu& cpu) { out = cpu.set_capability(capability, on); });
  return out;
}

Result<ApicState> VmControl::x2apic_state(u64 vcpu) {
  if (auto ok = check_vcpu(vcpu); !ok) return tl::make_unexpected(ok.error());
  switch (vm_->chips().lapic(static_cast<VcpuId>(vcpu)).mode()) {
    case intc::Vlapic::Mode::disabled: return ApicState::disabled;
    case intc::Vlapic::Mode::xapic: return ApicState::xapic;
    case intc::Vlapic::Mode::x2apic: return ApicState::x2apic;
  }
  return ApicState::disabled;
}

Result<void> VmControl::set_x2apic_state(u64 vcpu, ApicState state) {
  if (auto ok = check_vcpu(vcpu); !ok) return ok;
  constexpr u64 extended = bit(10), enabled = bit(11);
  Result<void> out;
  vm_->with_frozen(static_cast<VcpuId>(vcpu), Vcpu::FreezeAt::any, [&](Vcpu& cpu) {
    if (cpu.active())
      return void(out = fail(EBUSY, "vCPU {} has run: its local APIC's mode is the guest's", vcpu));
    intc::Vlapic& lapic = vm_->chips().lapic(cpu.id());
    const u64 off = lapic.apic_base() & ~(extended | enabled);
    // From x2APIC mode the only way is through "off" (SDM vol. 3, figure 11-27).
    bool ok = lapic.apic_base_write(off);
    if (state != ApicState::disabled) ok = ok && lapic.apic_base_write(off | enabled);
    if (state == ApicState::x2apic) ok = ok && lapic.apic_base_write(off | enabled | extended);
    if (!ok) out = fail(ENOTSUP, "vCPU {}: this VM has no x2APIC mode", vcpu);
  });
  return out;
}

Result<std::vector<Statistic>> VmControl::statistics(u64 vcpu) {
  if (auto ok = check_vcpu(vcpu); !ok) return tl::make_unexpected(ok.error());
  return read_statistics(*vm_, static_cast<VcpuId>(vcpu));
}

Result<EventInfo> VmControl::events(u64 vcpu) {
  if (auto ok = check_vcpu(vcpu); !ok) return tl::make_unexpected(ok.error());
  EventInfo out;
  const auto id = static_cast<VcpuId>(vcpu);
  out.state = state_word(vm_->vcpu(id).state());
  vm_->with_frozen(id, Vcpu::FreezeAt::any, [&](Vcpu& cpu) {
    VcpuState state;
    cpu.store(StateGroups::events, state);
    out.halted = state.halted;
    out.nmi_blocked = state.nmi_blocked;
    out.interrupt_shadow = state.interrupt_shadow;
    out.waits_for_sipi = cpu.waits_for_sipi();
    out.nmi_pending = cpu.nmi_pending();
    out.interrupt_pending = vm_->chips().interrupt_pending(id);
  });
  return out;
}

CpuSets VmControl::cpu_sets() { return read_cpu_sets(*vm_, *cpu_); }

Result<void> VmControl::suspend_cpu(i64 vcpu) {
  if (vcpu != -1)
    if (auto ok = check_vcpu(static_cast<u64>(vcpu)); !ok) return ok;
  for (VcpuId id = 0; id < vm_->vcpu_count(); ++id)
    if (vcpu == -1 || id == vcpu) vm_->vcpu(id).suspend_cpu();
  return {};
}

Result<void> VmControl::resume_cpu(i64 vcpu) {
  if (vcpu != -1)
    if (auto ok = check_vcpu(static_cast<u64>(vcpu)); !ok) return ok;
  for (VcpuId id = 0; id < vm_->vcpu_count(); ++id)
    if (vcpu == -1 || id == vcpu) vm_->vcpu(id).resume_cpu();
  return {};
}

Result<std::vector<unsigned>> VmControl::pinning(u64 vcpu) {
  if (auto ok = check_vcpu(vcpu); !ok) return tl::make_unexpected(ok.error());
  if (!pinning_) return std::vector<unsigned>();
  return pinning_->affinity(static_cast<VcpuId>(vcpu));
}

Result<void> VmControl::set_pinning(u64 vcpu, std::vector<unsigned> cpus) {
  if (auto ok = check_vcpu(vcpu); !ok) return ok;
  if (!pinning_)
    return fail(ENOTSUP, "this VM has no threads of its own: whoever runs its vCPUs binds them");
  return pinning_->set_affinity(static_cast<VcpuId>(vcpu), std::move(cpus));
}

IoTrace VmControl::io_trace(u64 from) {
  constexpr usize most = 4096;  // some 600 KiB of text
  IoTrace out;
  for (const vmm::IoTrace::Access& a : vm_->io_trace().take(from, most, out.next))
    out.accesses.push_back({a.sequence, a.time, a.vcpu, a.memory, a.write, a.size, a.address, a.value});
  return out;
}

std::vector<MemoryMapping> VmControl::memory_map() { return read_memory_map(vm_->space()); }

std::vector<MemorySegment> VmControl::memory_segments() {
  return read_memory_segments(vm_->space());
}

std::vector<u64> VmControl::gpa_pmap(u64 address) {
  const auto way = vm_->space().pmap().lookup(address);
  return {way.entries, way.entries + way.count};
}

Result<void> VmControl::read_memory(u64 address, std::span<u8> into) {
  if (vm_->space().read(Gpa(address), into)) return {};
  return fail(EFAULT, "{} bytes at {:#x} do not all lie in memory", into.size(), address);
}

Result<void> VmControl::write_memory(u64 address, std::span<const u8> from) {
  if (vm_->space().write(Gpa(address), from)) return {};
  return fail(EFAULT, "{} bytes at {:#x} do not all lie in memory", from.size(), address);
}

Result<u64> VmControl::translate(u64 vcpu, u64 linear, bool write) {
  VcpuState state;
  auto ok = read_state(vcpu, StateGroups::control, [&](const VcpuState& s) { state = s; });
  if (!ok) return tl::make_unexpected(ok.error());
  return machine::translate(vm_->space(), state, linear, write);
}

i64 VmControl::rtc_time() { return vm_->chips().rtc().time(); }

Result<void> VmControl::set_rtc_time(i64 seconds) {
  if (seconds < timer::calendar_first || seconds > timer::calendar_last)
    return fail(EINVAL, "RTC time {}: expected seconds since 1970 in years 0 to 9999", seconds);
  vm_->chips().rtc().set_time(seconds);
  return {};
}

Result<u8> VmControl::rtc_nvram(u64 offset) {
  const auto value = offset < 0x80 ? vm_->chips().rtc().nvram(static_cast<unsigned>(offset))
                                   : std::nullopt;
  if (value) return *value;
  return fail(EINVAL, "CMOS offset {:#x}: expected 0xe to 0x7f but for the century", offset);
}

Result<void> VmControl::set_rtc_nvram(u64 offset, u8 value) {
  if (offset < 0x80 && vm_->chips().rtc().set_nvram(static_cast<unsigned>(offset), value)) return {};
  return fail(EINVAL, "CMOS offset {:#x}: expected 0xe to 0x7f but for the century", offset);
}

Result<void> VmControl::suspend(abi::SuspendHow how) { return vm_->suspend(how); }

VmInfo VmControl::info() {
  VmInfo out;
  out.engine = vm_->engine().name();
  out.state = idle_ ? "stopped" : end_word(vm_->suspended());
  out.memory = vm_->space().lowmem() + vm_->space().highmem();
  out.resident = vm_->space().resident_bytes();
  out.cpus = vm_->vcpu_count();
  out.uptime = seconds_of(CLOCK_MONOTONIC) - since_;
  out.cpu_seconds = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
  out.pid = static_cast<u64>(::getpid());
  return out;
}

}  // namespace bhyve::machine
