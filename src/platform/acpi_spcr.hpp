#pragma once
#include <vector>

#include "base/types.hpp"

namespace bhyve::platform {

/// Serial Port Console Redirection table, revision 2: COM1, 115200 8N1.
[[nodiscard]] std::vector<u8> make_spcr();

}  // namespace bhyve::platform
