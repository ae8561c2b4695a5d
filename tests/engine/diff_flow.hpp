#pragma once
#include <vector>

#include "diff_forms.hpp"

namespace bhyve::test::diff {

/// Code that runs the instructions of `sequence` in some order, once, several times or not at all:
/// conditional and unconditional branches of both lengths, LOOP and JRCXZ, calls with their returns,
/// pushed addresses, and one loop with a counter of its own. It ends behind its last byte. Empty when
/// these instructions do not allow it. May write the counter into `memory`.
[[nodiscard]] std::vector<u8> weave(Random& random, const std::vector<Candidate>& sequence, u64 rip,
                                    std::span<u8, data_size> memory);

}  // namespace bhyve::test::diff
