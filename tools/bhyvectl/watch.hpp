#pragma once
#include "session.hpp"

namespace tool {

/// Looks again and again, each time on a cleared screen (or one JSON object a line), until SIGINT or a
/// failure.
[[nodiscard]] bhyve::Result<void> watch(const CtlOptions& options,
                                        bhyve::Result<void> (*look)(Session&));

}  // namespace tool
