#pragma once
#include <vector>

#include "loader/guest_memory.hpp"
#include "machine/machine_config.hpp"

namespace bhyve::machine {

/// Writes the tables that firmware leaves in memory: ACPI, MP table and SMBIOS, as configured.
/// `pci_slots` are the slots of bus 0 that have an interrupt pin. Fails with a sentence that names
/// the variable.
[[nodiscard]] Result<void> place_firmware_tables(loader::GuestMemory& memory,
                                                 const MachineConfig& config,
                                                 const Config& variables, u8 lpc_slot,
                                                 const std::vector<unsigned>& pci_slots);

}  // namespace bhyve::machine
