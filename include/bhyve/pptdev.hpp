#pragma once
#include <cstdint>

namespace bhyve {

/// A PCI function of the host that a VM was given, and the message that one of its interrupts is to be
/// in the guest.
struct PptFunction final {
  unsigned bus = 0, slot = 0, function = 0;  ///< of the host: 0..255, 0..31, 0..7
};
struct PptMessage final {
  std::uint64_t address = 0, data = 0;
};

}  // namespace bhyve
