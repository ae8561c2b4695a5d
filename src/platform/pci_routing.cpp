#include "platform/pci_routing.hpp"

#include "base/bits.hpp"
#include "platform/layout.hpp"

namespace bhyve::platform {

u16 pirq_legal_irqs(const std::array<bool, 4>& uarts, bool i8042) {
  constexpr std::array uart_irqs{layout::irq_com1, layout::irq_com2, layout::irq_com3,
                                 layout::irq_com4};
  u64 mask = 0xdef8;
  for (usize i = 0; i < uarts.size(); ++i) {
    if (uarts[i]) mask &= ~bit(uart_irqs[i]);
  }
  if (i8042) mask &= ~bit(layout::irq_mouse);
  return static_cast<u16>(mask);
}

}  // namespace bhyve::platform
