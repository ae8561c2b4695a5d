#pragma once
#include <vector>

#include "machine/loaded_guest.hpp"
#include "machine/machine_config.hpp"
#include "vmm/vm.hpp"

namespace bhyve::machine {

/// Prepares the guest's first instruction: firmware tables, then what there is to boot. That is the
/// kernel of the configuration, else the boot ROM at the reset vector, else `loaded` (may be
/// nullptr). `pci_slots` are the slots of bus 0 that have an interrupt pin. Files are read and
/// checked first: on failure (one sentence naming the file) no vCPU was touched. Before the guest
/// runs.
[[nodiscard]] Result<void> load_guest(vmm::Vm& vm, const MachineConfig& config,
                                      const Config& variables, const LoadedGuest* loaded,
                                      u8 lpc_slot, const std::vector<unsigned>& pci_slots);

/// What bhyveload or a user of the library left, without firmware tables: memory and registers.
[[nodiscard]] Result<void> restore_guest(vmm::Vm& vm, const MachineConfig& config,
                                         const LoadedGuest& loaded);

}  // namespace bhyve::machine
