#pragma once
#include "machine/machine_config.hpp"

namespace bhyve::machine {

/// Reads the variables below `lpc`: what sits behind the LPC bridge. `lpc`: there is a bridge.
[[nodiscard]] Result<void> read_lpc(const Config& config, bool lpc, MachineConfig& out);

}  // namespace bhyve::machine
