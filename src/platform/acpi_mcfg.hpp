#pragma once
#include <vector>

#include "base/types.hpp"

namespace bhyve::platform {

/// Memory-mapped configuration space (PCI Firmware specification 3.0, 4.1.2).
[[nodiscard]] std::vector<u8> make_mcfg();

}  // namespace bhyve::platform
