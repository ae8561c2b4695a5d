// Each member of Control as its request (src/api/control_commands.cpp has the other side).
#include <algorithm>

#include "api/control_impl.hpp"

namespace bhyve {
namespace {

/// Bytes of guest memory in one request; two digits each must fit into api::max_request.
constexpr usize piece = 4 * KiB;

}  // namespace

Result<VcpuRegisters> Control::registers(unsigned cpu) {
  return impl_->call_for<VcpuRegisters>({{"command", "get-registers"}, {"cpu", cpu}});
}
Result<std::uint64_t> Control::get_register(unsigned cpu, const std::string& name) {
  return impl_->call_for<u64>({{"command", "get-register"}, {"cpu", cpu}, {"register", name}});
}
Result<void> Control::set_register(unsigned cpu, const std::string& name, std::uint64_t value) {
  return impl_->order(
      {{"command", "set-register"}, {"cpu", cpu}, {"register", name}, {"value", value}});
}
Result<DescriptorValue> Control::get_descriptor(unsigned cpu, const std::string& name) {
  return impl_->call_for<DescriptorValue>(
      {{"command", "get-descriptor"}, {"cpu", cpu}, {"register", name}});
}
Result<void> Control::set_descriptor(unsigned cpu, const DescriptorValue& value) {
  return impl_->order({{"command", "set-descriptor"}, {"cpu", cpu}, {"register", value.name},
                       {"base", value.base}, {"limit", value.limit}, {"access", value.access}});
}
Result<void> Control::reset_vcpu(unsigned cpu) {
  return impl_->order({{"command", "reset-vcpu"}, {"cpu", cpu}});
}
Result<bool> Control::get_capability(unsigned cpu, abi::Capability capability) {
  return impl_->call_for<bool>(
      {{"command", "get-capability"}, {"cpu", cpu}, {"capability", static_cast<u32>(capability)}});
}
Result<void> Control::set_capability(unsigned cpu, abi::Capability capability, bool on) {
  return impl_->order({{"command", "set-capability"}, {"cpu", cpu},
                       {"capability", static_cast<u32>(capability)}, {"value", on}});
}
Result<ApicState> Control::x2apic_state(unsigned cpu) {
  return impl_->call_for<ApicState>({{"command", "get-x2apic-state"}, {"cpu", cpu}});
}
Result<void> Control::set_x2apic_state(unsigned cpu, ApicState state) {
  return impl_->order(
      {{"command", "set-x2apic-state"}, {"cpu", cpu}, {"state", static_cast<u32>(state)}});
}
Result<IoTrace> Control::io_trace(std::uint64_t from) {
  return impl_->call_for<IoTrace>({{"command", "get-io-trace"}, {"from", from}});
}
Result<void> Control::end_io_trace() { return impl_->order({{"command", "end-io-trace"}}); }
Result<std::vector<Statistic>> Control::statistics(unsigned cpu) {
  return impl_->call_for<std::vector<Statistic>>({{"command", "get-stats"}, {"cpu", cpu}});
}
Result<EventInfo> Control::events(unsigned cpu) {
  return impl_->call_for<EventInfo>({{"command", "get-events"}, {"cpu", cpu}});
}
Result<VmInfo> Control::info() { return impl_->call_for<VmInfo>({{"command", "get-info"}}); }
Result<std::vector<MemoryMapping>> Control::memory_map() {
  return impl_->call_for<std::vector<MemoryMapping>>({{"command", "get-memmap"}});
}
Result<std::vector<MemorySegment>> Control::memory_segments() {
  return impl_->call_for<std::vector<MemorySegment>>({{"command", "get-memseg"}});
}
Result<std::vector<std::uint64_t>> Control::gpa_pmap(std::uint64_t address) {
  return impl_->call_for<std::vector<std::uint64_t>>(
      {{"command", "get-gpa-pmap"}, {"address", address}});
}
Result<CpuSets> Control::cpu_sets() {
  return impl_->call_for<CpuSets>({{"command", "get-cpus"}});
}
Result<void> Control::suspend_cpu(int cpu) {
  return impl_->order({{"command", "suspend-cpu"}, {"cpu", cpu}});
}
Result<void> Control::resume_cpu(int cpu) {
  return impl_->order({{"command", "resume-cpu"}, {"cpu", cpu}});
}
Result<std::vector<unsigned>> Control::pinning(unsigned cpu) {
  return impl_->call_for<std::vector<unsigned>>({{"command", "get-pinning"}, {"cpu", cpu}});
}
Result<void> Control::set_pinning(unsigned cpu, const std::vector<unsigned>& host_cpus) {
  return impl_->order({{"command", "set-pinning"}, {"cpu", cpu}, {"cpuset", host_cpus}});
}
Result<void> Control::inject_exception(unsigned cpu, unsigned vector,
                                       std::optional<std::uint32_t> error) {
  return impl_->order({{"command", "inject-exception"}, {"cpu", cpu}, {"vector", vector},
                       {"has-error", error.has_value()}, {"error", error.value_or(0)}});
}
Result<void> Control::inject_nmi(unsigned cpu) {
  return impl_->order({{"command", "inject-nmi"}, {"cpu", cpu}});
}
Result<void> Control::assert_lapic_lvt(int cpu, unsigned pin) {
  return impl_->order({{"command", "assert-lapic-lvt"}, {"cpu", cpu}, {"pin", pin}});
}
Result<void> Control::lapic_irq(unsigned cpu, unsigned vector) {
  return impl_->order({{"command", "lapic-irq"}, {"cpu", cpu}, {"vector", vector}});
}
Result<void> Control::lapic_msi(std::uint64_t address, std::uint64_t data) {
  return impl_->order({{"command", "lapic-msi"}, {"address", address}, {"data", data}});
}
Result<unsigned> Control::ioapic_pins() {
  return impl_->call_for<unsigned>({{"command", "ioapic-pincount"}});
}
Result<void> Control::ioapic_irq(unsigned pin, LineChange change) {
  return impl_->order(
      {{"command", "ioapic-irq"}, {"pin", pin}, {"change", static_cast<u32>(change)}});
}
Result<void> Control::isa_irq(unsigned atpic, int ioapic, LineChange change) {
  return impl_->order({{"command", "isa-irq"}, {"atpic", atpic}, {"ioapic", ioapic},
                       {"change", static_cast<u32>(change)}});
}
Result<void> Control::isa_irq_trigger(unsigned atpic, bool level) {
  return impl_->order({{"command", "isa-irq-trigger"}, {"atpic", atpic}, {"level", level}});
}
Result<void> Control::setup_pptdev_msi(PptFunction f, PptMessage message, unsigned count) {
  return impl_->order({{"command", "setup-pptdev-msi"}, {"bus", f.bus}, {"slot", f.slot},
                       {"function", f.function}, {"address", message.address},
                       {"data", message.data}, {"count", count}});
}
Result<void> Control::setup_pptdev_msix(PptFunction f, unsigned index, PptMessage message,
                                        std::uint32_t vector_control) {
  return impl_->order({{"command", "setup-pptdev-msix"}, {"bus", f.bus}, {"slot", f.slot},
                       {"function", f.function}, {"index", index}, {"address", message.address},
                       {"data", message.data}, {"vector-control", vector_control}});
}
Result<void> Control::read_memory(std::uint64_t address, std::span<std::uint8_t> into) {
  for (usize at = 0; at < into.size(); at += piece) {
    const auto part = into.subspan(at, std::min(piece, into.size() - at));
    const auto text = impl_->call_for<std::string>(
        {{"command", "read-memory"}, {"address", address + at}, {"length", part.size()}});
    if (!text) return tl::make_unexpected(text.error());
    const auto bytes = api::from_hex(*text);
    if (!bytes || bytes->size() != part.size())
      return fail(EBADMSG, "VM '{}': its answer to read-memory has the wrong shape", impl_->name);
    std::copy(bytes->begin(), bytes->end(), part.begin());
  }
  return {};
}
Result<void> Control::write_memory(std::uint64_t address, std::span<const std::uint8_t> from) {
  for (usize at = 0; at < from.size(); at += piece) {
    const auto part = from.subspan(at, std::min(piece, from.size() - at));
    if (auto ok = impl_->order({{"command", "write-memory"}, {"address", address + at},
                                {"data", api::to_hex(part)}}); !ok)
      return ok;
  }
  return {};
}
Result<std::uint64_t> Control::translate(unsigned cpu, std::uint64_t linear, bool write) {
  return impl_->call_for<u64>(
      {{"command", "translate"}, {"cpu", cpu}, {"linear", linear}, {"write", write}});
}
Result<std::int64_t> Control::rtc_time() {
  return impl_->call_for<i64>({{"command", "get-rtc-time"}});
}
Result<void> Control::set_rtc_time(std::int64_t seconds) {
  return impl_->order({{"command", "set-rtc-time"}, {"seconds", seconds}});
}
Result<std::uint8_t> Control::rtc_nvram(unsigned offset) {
  return impl_->call_for<u8>({{"command", "get-rtc-nvram"}, {"offset", offset}});
}
Result<void> Control::set_rtc_nvram(unsigned offset, std::uint8_t value) {
  return impl_->order({{"command", "set-rtc-nvram"}, {"offset", offset}, {"value", value}});
}
Result<void> Control::suspend(abi::SuspendHow how) {
  return impl_->order({{"command", "suspend"}, {"how", static_cast<u32>(how)}});
}

}  // namespace bhyve
