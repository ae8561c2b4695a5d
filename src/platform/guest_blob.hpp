#pragma once
#include <vector>

#include "base/address.hpp"
#include "base/types.hpp"

namespace bhyve::platform {

/// Bytes that the machine copies into guest RAM before the first instruction, and again on reset.
struct GuestBlob final {
  Gpa address;
  std::vector<u8> bytes;
};

}  // namespace bhyve::platform
