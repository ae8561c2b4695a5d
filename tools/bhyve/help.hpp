#pragma once
#include <span>

#include "bhyve/devices.hpp"

namespace tool {

/// The whole help on standard output.
void print_help();
/// One line a device: -s help and -l help.
void print_devices(std::span<const bhyve::DeviceName> devices);

}  // namespace tool
