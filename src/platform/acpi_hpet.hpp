#pragma once
#include <vector>

#include "base/types.hpp"
#include "platform/acpi_config.hpp"

namespace bhyve::platform {

/// HPET Description Table (IA-PC HPET specification 1.0a, 3.2.4).
[[nodiscard]] std::vector<u8> make_hpet(const AcpiConfig& config);

}  // namespace bhyve::platform
