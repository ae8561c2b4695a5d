#pragma once
#include <span>
#include <vector>

#include "base/address.hpp"
#include "base/types.hpp"

namespace bhyve::platform {

/// Root System Description Table for systems that do not know the XSDT (ACPI 6.4, 5.2.7).
[[nodiscard]] std::vector<u8> make_rsdt(std::span<const Gpa> tables);

}  // namespace bhyve::platform
