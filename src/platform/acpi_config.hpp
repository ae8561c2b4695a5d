#pragma once
#include <array>
#include <vector>

#include "base/types.hpp"

namespace bhyve::platform {

/// One processor slot. A slot that is not present is listed disabled, room for hot-plug.
struct AcpiCpu final {
  u32 apic_id = 0;
  bool present = true;
};

/// What the ACPI tables say about the machine. Addresses and interrupt numbers that are the same in
/// every machine come from layout.hpp and pci_routing.hpp.
struct AcpiConfig final {
  static constexpr usize max_cpus = 1024;

  std::vector<AcpiCpu> cpus;        ///< by vCPU number; ids above 254 get x2APIC entries
  u64 lowmem = 0, highmem = 0;      ///< bytes
  std::array<bool, 4> uarts{};      ///< COM1..COM4
  bool hpet = true;
  u32 hpet_id = 0x8086'0701;        ///< the chip's capability word: 8 comparators, 32 bits
  bool i8042 = true;                ///< keyboard and mouse controller
  bool vga = false;                 ///< A0000h window and VGA ports answer
  u8 lpc_slot = 31;                 ///< PCI slot of the LPC bridge on bus 0
};

}  // namespace bhyve::platform
