#pragma once
#include <string>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace bhyve::api {

/// Where VM directories live: $BHYVE_RUNDIR, else /run/bhyve for root, else
/// $XDG_RUNTIME_DIR/bhyve, else /tmp/bhyve-UID.
[[nodiscard]] std::string run_dir_path();

/// Opens the run directory, making it (0700) when `create` is set. Refuses one that another user
/// owns or may write to. ENOENT when it is not there.
[[nodiscard]] Result<UniqueFd> open_run_dir(bool create);

}  // namespace bhyve::api
