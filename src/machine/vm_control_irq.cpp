// Interrupts and exceptions from outside.
#include "machine/vm_control.hpp"

namespace bhyve::machine {

using vmm::Vcpu;

Result<void> VmControl::inject_exception(u64 vcpu, u64 vector, bool has_error, u32 error) {
  constexpr u64 highest = 31, nmi = 2, double_fault = 8;
  if (auto ok = check_vcpu(vcpu); !ok) return ok;
  if (vector > highest || vector == nmi || vector == double_fault)
    return fail(EINVAL, "exception {}: expected 0 to {} but for {} and {}", vector, highest, nmi,
                double_fault);
  vm_->with_frozen(static_cast<VcpuId>(vcpu), change_at_, [&](Vcpu& cpu) {
    engine::VcpuState state;
    const auto groups = engine::StateGroups::control | engine::StateGroups::events;
    cpu.store(groups, state);
    // As FreeBSD: no error code in real mode, and the shadow of STI or MOV SS ends.
    const bool with_error = has_error && (state.cr0 & x86::cr0::pe);
    state.interrupt_shadow = false;
    cpu.load(engine::StateGroups::events, state);
    cpu.inject_exception(static_cast<x86::Vector>(vector), with_error, error);
  });
  return {};
}

Result<void> VmControl::inject_nmi(u64 vcpu) {
  if (auto ok = check_vcpu(vcpu); !ok) return ok;
  vm_->nmi(static_cast<VcpuId>(vcpu));
  return {};
}

Result<void> VmControl::lapic_irq(u64 vcpu, u64 vector) {
  if (auto ok = check_vcpu(vcpu); !ok) return ok;
  if (vector < 16 || vector > 255) return fail(EINVAL, "vector {}: expected 16 to 255", vector);
  const auto id = static_cast<VcpuId>(vcpu);
  if (vm_->chips().lapic(id).set_irr(static_cast<u8>(vector), false)) vm_->notify(id);
  return {};
}

Result<void> VmControl::lapic_msi(u64 address, u32 data) {
  constexpr u64 window = 0xfee0'0000, window_mask = ~u64{0xf'ffff};
  if ((address & window_mask) != window)
    return fail(EINVAL, "MSI address {:#x}: expected {:#x} to {:#x}", address, window,
                window | ~window_mask);
  vm_->chips().lapic_bus().msi(address, data);
  return {};
}

Result<void> VmControl::assert_lapic_lvt(i64 vcpu, u64 pin) {
  constexpr u64 highest = 6;
  if (pin > highest) return fail(EINVAL, "pin {}: expected 0 to {}", pin, highest);
  intc::LapicBus& bus = vm_->chips().lapic_bus();
  if (vcpu == -1) {
    (void)bus.local_irq_all(static_cast<unsigned>(pin));
    return {};
  }
  if (auto ok = check_vcpu(static_cast<u64>(vcpu)); !ok) return ok;
  (void)bus.local_irq(static_cast<VcpuId>(vcpu), static_cast<unsigned>(pin));
  return {};
}

void VmControl::drive(intc::IrqPin& pin, LineChange change) {
  switch (change) {
    case LineChange::assert_line: return pin.assert_pin();
    case LineChange::deassert_line: return pin.deassert_pin();
    case LineChange::pulse: return pin.pulse();
  }
}

u32 VmControl::ioapic_pins() { return vm_->chips().ioapic().pins(); }

Result<void> VmControl::ioapic_irq(u64 pin, LineChange change) {
  intc::VioapicMmio& ioapic = vm_->chips().ioapic();
  if (pin >= ioapic.pins())
    return fail(EINVAL, "I/O APIC pin {}: expected 0 to {}", pin, ioapic.pins() - 1);
  drive(ioapic.pin(static_cast<unsigned>(pin)), change);
  return {};
}

Result<void> VmControl::isa_irq(u64 atpic, i64 ioapic, LineChange change) {
  constexpr u64 inputs = 16;
  if (atpic >= inputs) return fail(EINVAL, "ISA IRQ {}: expected 0 to {}", atpic, inputs - 1);
  if (ioapic != -1)
    if (auto ok = ioapic_irq(static_cast<u64>(ioapic), change); !ok) return ok;
  drive(vm_->chips().pic().pin(static_cast<unsigned>(atpic)), change);
  return {};
}

Result<void> VmControl::isa_irq_trigger(u64 atpic, bool level) {
  constexpr u32 always_edge = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 8 | 1 << 13;
  if (atpic > 15 || (always_edge >> atpic & 1))
    return fail(EINVAL, "ISA IRQ {}: expected 3 to 15 but for 8 and 13", atpic);
  bus::Pio& elcr = vm_->chips().pic().elcr_ports();
  const auto port = static_cast<u16>(atpic / 8);
  const u32 mask = 1u << atpic % 8;
  const u32 before = elcr.pio_read(port, 1);
  elcr.pio_write(port, 1, level ? before | mask : before & ~mask);
  return {};
}

Result<void> VmControl::setup_pptdev(const PptFunction& function) {
  // No configuration can give a machine a host function yet, so none is ever found.
  return fail(ENXIO, "pptdev {}/{}/{} is not assigned to this VM", function.bus, function.slot,
              function.function);
}

}  // namespace bhyve::machine
