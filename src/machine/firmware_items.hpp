#pragma once
#include "machine/machine_config.hpp"
#include "platform/fw_cfg.hpp"

namespace bhyve::machine {

/// What the firmware configuration device offers: number of CPUs, memory, UUID, memory map (etc/e820),
/// ACPI tables with the script that places them, SMBIOS tables, and the items of -f. Fails with a
/// sentence that names the item or its file.
[[nodiscard]] Result<platform::FwCfg> make_firmware_items(const MachineConfig& config, u8 lpc_slot);

}  // namespace bhyve::machine
