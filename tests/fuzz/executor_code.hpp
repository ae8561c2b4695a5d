#pragma once
#include <vector>

#include "base/types.hpp"
#include "fuzz/executor_machine.hpp"

namespace bhyve::fuzz {

/// Code that does much before it ends: mostly valid instructions on the registers and data that
/// first_state() sets up, forward and bounded backward branches, calls with their returns, jumps
/// through registers. For 64- and 32-bit modes; the same for the same seed.
[[nodiscard]] std::vector<u8> make_program(Mode mode, u64 seed);

}  // namespace bhyve::fuzz
