#pragma once
#include <vector>

#include "session.hpp"

namespace tool {

/// --get-X and --set-X of registers, selectors and descriptors.
void add_register_rows(std::vector<OptionRow>& rows);
/// All of them at once, for --get-all.
[[nodiscard]] bhyve::Result<void> get_registers(Session& session);

}  // namespace tool
