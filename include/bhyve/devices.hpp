#pragma once
#include <span>
#include <string_view>

namespace bhyve {

/// A device that -s or -l can name.
struct DeviceName final {
  std::string_view name;
  std::string_view help;
  bool available;  ///< false: known to bhyve, not in this build; running with it is refused
};

/// Names for -s, in the order of the help.
[[nodiscard]] std::span<const DeviceName> pci_devices();
/// Names for -l.
[[nodiscard]] std::span<const DeviceName> lpc_devices();
/// The entry of that name, or nullptr.
[[nodiscard]] const DeviceName* find_device(std::span<const DeviceName> devices,
                                            std::string_view name);

}  // namespace bhyve
