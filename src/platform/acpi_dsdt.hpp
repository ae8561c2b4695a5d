#pragma once
#include <vector>

#include "base/types.hpp"
#include "platform/acpi_config.hpp"

namespace bhyve::platform {

/// Differentiated System Description Table: the machine in AML (ACPI 6.4, 5.2.11.1).
[[nodiscard]] std::vector<u8> make_dsdt(const AcpiConfig& config);

}  // namespace bhyve::platform
