#pragma once
#include <string>
#include <string_view>

#include "bhyve/config.hpp"

namespace tool {

/// The configuration of a device of -s, behind its name, as variables below `node`: words that have a
/// meaning by their place (a disk's path, a network's back end, AHCI's ports ...) get the names of
/// bhyve_config(5), key=value becomes that variable and a word alone means true.
[[nodiscard]] bhyve::Result<void> set_device_keys(bhyve::Config& config, const std::string& node,
                                                  std::string_view device, std::string_view text);

/// The parts of `text` between the letters `by`.
[[nodiscard]] std::vector<std::string_view> split(std::string_view text, char by);

}  // namespace tool
