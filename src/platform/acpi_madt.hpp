#pragma once
#include <vector>

#include "base/types.hpp"
#include "platform/acpi_config.hpp"

namespace bhyve::platform {

/// Multiple APIC Description Table (ACPI 6.4, 5.2.12).
[[nodiscard]] std::vector<u8> make_madt(const AcpiConfig& config);

}  // namespace bhyve::platform
