#pragma once
#include <span>
#include <vector>

#include "base/address.hpp"
#include "base/types.hpp"

namespace bhyve::platform {

/// Extended System Description Table (ACPI 6.4, 5.2.8).
[[nodiscard]] std::vector<u8> make_xsdt(std::span<const Gpa> tables);

}  // namespace bhyve::platform
