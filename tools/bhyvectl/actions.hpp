#pragma once
#include "options.hpp"

namespace tool {

/// Does what the options ask for, in bhyvectl's order: NMI and local interrupts, getters, CPU sets,
/// statistics, topology, reset or power-off, destroy. Stops at the first failure.
[[nodiscard]] bhyve::Result<void> run_actions(const CtlOptions& options);

}  // namespace tool
