#include <array>

#include "bhyve/capabilities.hpp"

namespace bhyve {
namespace {

using abi::Capability;

constexpr std::array names{
    CapabilityName{"hlt_exit", Capability::halt_exit},
    CapabilityName{"mtrap_exit", Capability::mtrap_exit},
    CapabilityName{"pause_exit", Capability::pause_exit},
    CapabilityName{"unrestricted_guest", Capability::unrestricted_guest},
    CapabilityName{"enable_invpcid", Capability::enable_invpcid},
    CapabilityName{"bpt_exit", Capability::bpt_exit},
    CapabilityName{"rdpid", Capability::rdpid},
    CapabilityName{"rdtscp", Capability::rdtscp},
    CapabilityName{"ipi_exit", Capability::ipi_exit},
    CapabilityName{"mask_hwintr", Capability::mask_hwintr},
    CapabilityName{"rflags_tf", Capability::rflags_tf},
};
static_assert(names.size() == abi::capability_count);

}  // namespace

std::span<const CapabilityName> capability_names() { return names; }

std::optional<abi::Capability> find_capability(std::string_view name) {
  for (const CapabilityName& row : names)
    if (row.name == name) return row.capability;
  return std::nullopt;
}

}  // namespace bhyve
