#pragma once
#include "intc/vatpic_pio.hpp"
#include "intc/vioapic_mmio.hpp"

namespace bhyve::intc {

/// An ISA interrupt line as a device's pin: it reaches the PIC and the I/O APIC, and the guest
/// masks one of them. IRQ 0 is input 2 of the I/O APIC (the MADT's override), the others keep their
/// number. Devices may share an interrupt by an IsaIrq each. Any thread.
class IsaIrq final : public IrqPin {
 public:
  [[nodiscard]] static constexpr unsigned ioapic_input(unsigned irq) { return irq == 0 ? 2 : irq; }

  /// `irq` is 0..15, not 2.
  IsaIrq(VatpicPio& pic, VioapicMmio& ioapic, unsigned irq)
      : pic_(pic.connect(irq)), ioapic_(ioapic.connect(ioapic_input(irq))) {}

  void set_level(bool asserted) override {
    pic_.set_level(asserted);
    ioapic_.set_level(asserted);
  }

 private:
  IrqPin& pic_;
  IrqPin& ioapic_;
};

}  // namespace bhyve::intc
