#pragma once
#include <array>

#include "base/types.hpp"

/// Where PCI INTx lines go. ACPI, the MP table and the machine's wiring all ask here, so that they
/// cannot disagree. A `pin` is the value of the Interrupt Pin register: 1 = INTA# .. 4 = INTD#.
namespace bhyve::platform {

inline constexpr unsigned pci_slots = 32, pci_int_pins = 4;
inline constexpr unsigned pirq_links = 8;  ///< LNKA..LNKH

/// The I/O APIC pin (= GSI), 16..23.
[[nodiscard]] constexpr unsigned ioapic_pin_for(unsigned slot, unsigned pin) {
  return 16 + (4 + slot + pin) % 8;
}
/// The PIRQ link of the LPC bridge, 0 = A .. 7 = H, which leads to a PIC input.
[[nodiscard]] constexpr unsigned pirq_link_for(unsigned slot, unsigned pin) {
  return (4 + slot + pin) % pirq_links;
}
/// Offset of a link's register in the LPC bridge's configuration space: 60h-63h, 68h-6Bh. Bit 7 =
/// not routed; bits 3-0 = ISA interrupt (Intel ICH9 data sheet, 13.1.17).
[[nodiscard]] constexpr u8 pirq_register(unsigned link) {
  return static_cast<u8>(link < 4 ? 0x60 + link : 0x68 + link - 4);
}
inline constexpr u8 pirq_not_routed = 0x80, pirq_irq_mask = 0x0f;

/// ISA interrupts a link may choose, as a bit mask: 3-7, 9-12, 14, 15 (DEF8h) less those of the
/// UARTs present (index 0 = COM1) and of the PS/2 mouse.
[[nodiscard]] u16 pirq_legal_irqs(const std::array<bool, 4>& uarts, bool i8042);

}  // namespace bhyve::platform
