#pragma once
#include <optional>
#include <string>

#include "bhyve/abi/error.hpp"

namespace tool {

/// The command line of bhyvectl(8). Several actions may be asked for in one call.
struct CtlOptions final {
  std::string vm;
  int cpu = 0;  ///< -1: all, where that has a meaning
  bool json = false;
  bool help = false, version = false, list = false, create = false, destroy = false;
  bool get_all = false, get_stats = false, get_memmap = false, get_topology = false;
  bool get_active = false, get_suspended = false;
  bool force_reset = false, force_poweroff = false, inject_nmi = false;
  std::optional<unsigned> lvt;
};

/// Fails with a usage error.
[[nodiscard]] bhyve::Result<CtlOptions> parse_ctl_options(int argc, char** argv);

}  // namespace tool
