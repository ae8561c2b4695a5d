#pragma once
#include <vector>

#include "base/types.hpp"

namespace bhyve::platform {

/// Firmware ACPI Control Structure, version 2 (ACPI 6.4, 5.2.10); must be 64-byte aligned.
[[nodiscard]] std::vector<u8> make_facs();

}  // namespace bhyve::platform
