#pragma once
#include <vector>

#include "loader/guest_memory.hpp"
#include "machine/machine_config.hpp"
#include "platform/acpi.hpp"

namespace bhyve::machine {

/// The variables bios.*, system.*, board.*, chassis.* (bhyve_config(5)) and what the machine is.
[[nodiscard]] Result<platform::SmbiosConfig> smbios_config(const MachineConfig& config,
                                                           const Config& variables);
[[nodiscard]] Result<platform::AcpiTables> make_acpi(const MachineConfig& config, u8 lpc_slot);
/// The BIOS data area and the like, for kernels that no firmware starts.
[[nodiscard]] Result<void> place_bios_data(loader::GuestMemory& memory, const MachineConfig& config);
/// Writes the tables that firmware leaves in memory: ACPI, MP table and SMBIOS, as configured.
/// `pci_slots` are the slots of bus 0 that have an interrupt pin. Fails with a sentence that names
/// the variable.
[[nodiscard]] Result<void> place_firmware_tables(loader::GuestMemory& memory,
                                                 const MachineConfig& config, u8 lpc_slot,
                                                 const std::vector<unsigned>& pci_slots);

}  // namespace bhyve::machine
