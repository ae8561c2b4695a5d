#include "platform/pci_routing.hpp"

#include <gtest/gtest.h>

#include <set>

namespace bhyve::platform {
namespace {

TEST(PciRouting, EveryPinGoesToOneOfEightIoapicPinsFrom16) {
  for (unsigned slot = 0; slot < pci_slots; ++slot) {
    std::set<unsigned> pins;
    for (unsigned pin = 1; pin <= pci_int_pins; ++pin) {
      const unsigned io = ioapic_pin_for(slot, pin);
      EXPECT_GE(io, 16u);
      EXPECT_LE(io, 23u);
      pins.insert(io);
    }
    EXPECT_EQ(pins.size(), pci_int_pins) << "pins of slot " << slot << " share an input";
  }
}

TEST(PciRouting, Slot3Int1IsLinkAAndPin16) {
  EXPECT_EQ(ioapic_pin_for(3, 1), 16u);
  EXPECT_EQ(pirq_link_for(3, 1), 0u);
}

TEST(PciRouting, LinkRegistersAre60To63And68To6B) {
  EXPECT_EQ(pirq_register(0), 0x60);
  EXPECT_EQ(pirq_register(3), 0x63);
  EXPECT_EQ(pirq_register(4), 0x68);
  EXPECT_EQ(pirq_register(7), 0x6b);
}

TEST(PciRouting, LegalInterruptsLeaveOutWhatUartsAndMouseTake) {
  EXPECT_EQ(pirq_legal_irqs({}, false), 0xdef8);
  EXPECT_EQ(pirq_legal_irqs({true, false, false, false}, false), 0xdee8);
  EXPECT_EQ(pirq_legal_irqs({true, true, true, true}, true), 0xcee0);
}

}  // namespace
}  // namespace bhyve::platform
