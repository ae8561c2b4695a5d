#pragma once
#include <vector>

#include "machine/machine_config.hpp"
#include "vmm/vm.hpp"

namespace bhyve::machine {

/// Puts the firmware tables, the kernel, the initrd and the command line into guest memory and sets
/// the registers of vCPU 0. `pci_slots` are the slots of bus 0 that have an interrupt pin. Files are
/// read and checked first: on failure (one sentence naming the file) no vCPU was touched. Before the
/// guest runs.
[[nodiscard]] Result<void> load_guest(vmm::Vm& vm, const MachineConfig& config,
                                      const Config& variables, u8 lpc_slot,
                                      const std::vector<unsigned>& pci_slots);

}  // namespace bhyve::machine
