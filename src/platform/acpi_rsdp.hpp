#pragma once
#include <vector>

#include "base/address.hpp"
#include "base/types.hpp"

namespace bhyve::platform {

/// Root System Description Pointer, revision 2 (ACPI 6.4, 5.2.5.3).
[[nodiscard]] std::vector<u8> make_rsdp(Gpa rsdt, Gpa xsdt);

}  // namespace bhyve::platform
