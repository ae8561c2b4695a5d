#pragma once
#include <vector>

#include "base/address.hpp"
#include "base/types.hpp"
#include "platform/acpi_config.hpp"

namespace bhyve::platform {

/// Fixed ACPI Description Table, revision 5.1 (ACPI 5.1, 5.2.9).
[[nodiscard]] std::vector<u8> make_fadt(const AcpiConfig& config, Gpa facs, Gpa dsdt);

}  // namespace bhyve::platform
