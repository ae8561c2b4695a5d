#pragma once
#include <vector>

#include "base/types.hpp"
#include "platform/smbios.hpp"

namespace bhyve::platform {

/// The structure table without its entry point.
struct SmbiosStructures final {
  std::vector<u8> bytes;
  usize count = 0;
  usize largest = 0;  ///< bytes of the largest structure with its strings
};

[[nodiscard]] SmbiosStructures make_smbios_structures(const SmbiosConfig& config);

}  // namespace bhyve::platform
