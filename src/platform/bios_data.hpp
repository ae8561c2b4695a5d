#pragma once
#include <array>
#include <vector>

#include "platform/guest_blob.hpp"

namespace bhyve::platform {

/// What a BIOS leaves below 1 MiB for programs that look there although there is none: the BIOS data
/// area (serial ports, base memory, EBDA), the size of the EBDA, and interrupt vectors that lead to
/// IRET, or for BIOS calls to "no such function".
/// `com`: which of the serial ports are there.
[[nodiscard]] std::vector<GuestBlob> make_bios_data(const std::array<bool, 4>& com);

}  // namespace bhyve::platform
