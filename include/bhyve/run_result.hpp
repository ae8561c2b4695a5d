#pragma once
#include <cstdint>
#include <optional>

#include "bhyve/abi/exit_code.hpp"

namespace bhyve {

/// How a run of a VM ended.
struct RunResult final {
  abi::SuspendHow how = abi::SuspendHow::none;
  /// Set when the guest ended the VM by itself through the debug exit port of `-l pc-testdev`: what
  /// it wrote * 2 + 1, meant to be the exit status of the process.
  std::optional<std::uint8_t> debug_exit;
};

}  // namespace bhyve
