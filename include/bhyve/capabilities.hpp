#pragma once
#include <optional>
#include <span>
#include <string_view>

#include "bhyve/abi/exit_code.hpp"

namespace bhyve {

/// A capability of a vCPU by the name that bhyvectl --capname takes.
struct CapabilityName final {
  std::string_view name;
  abi::Capability capability;
};

/// All of them, in the order of their numbers.
[[nodiscard]] std::span<const CapabilityName> capability_names();
[[nodiscard]] std::optional<abi::Capability> find_capability(std::string_view name);

}  // namespace bhyve
