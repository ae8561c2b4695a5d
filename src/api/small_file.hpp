#pragma once
#include <string>

#include "base/types.hpp"

namespace bhyve::api {

/// The contents of a regular file in directory `dir`, or nothing when it cannot be read or is longer
/// than `max`.
[[nodiscard]] std::string read_small_file(int dir, const char* file, usize max);

}  // namespace bhyve::api
