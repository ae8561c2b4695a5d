#pragma once
#include <memory>

#include "base/error.hpp"
#include "machine/machine_config.hpp"
#include "vmm/vm.hpp"

namespace bhyve::machine {

/// Makes memory, CPU engine and vCPUs with their capabilities, but no devices. Fills the clock rates of
/// `config.cpu`.
[[nodiscard]] Result<std::unique_ptr<vmm::Vm>> make_vm(MachineConfig& config);

}  // namespace bhyve::machine
