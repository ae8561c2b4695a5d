#pragma once
#include <string>

#include "session.hpp"

namespace tool {

/// bhyvectl --sysctl[=NAME]: values of the host; counters are summed over this user's running VMs.
/// A name may be the start of several, up to a dot. ENOENT for one that does not exist.
[[nodiscard]] bhyve::Result<void> show_sysctl(Session& session, const std::string& name);

}  // namespace tool
