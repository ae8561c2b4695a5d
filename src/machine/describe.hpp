#pragma once
#include <string>

#include "base/error.hpp"
#include "bhyve/config.hpp"

namespace bhyve::machine {

/// bhyve --dry-run: see describe_machine() in bhyve/vm.hpp.
[[nodiscard]] Result<std::string> describe(const Config& config);

}  // namespace bhyve::machine
