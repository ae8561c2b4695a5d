#pragma once
#include <span>

#include "options.hpp"
#include "session.hpp"

namespace tool {

/// Every action of bhyvectl.
[[nodiscard]] std::span<const OptionRow> option_rows();

/// Does what the options ask for, in the order of their stages. Stops at the first failure; what was
/// found out before is printed.
[[nodiscard]] bhyve::Result<void> run_actions(const CtlOptions& options);

}  // namespace tool
