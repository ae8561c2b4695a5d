#pragma once
#include "base/error.hpp"
#include "engine/vcpu_state.hpp"
#include "mem/vmspace.hpp"

namespace bhyve::machine {

/// What the guest's page tables make of a linear address (SDM vol. 3, 4.3 to 4.5), without setting
/// accessed or dirty bits: for debuggers. `state` needs the group control. EFAULT when a supervisor
/// access would fault or a table is not in memory.
[[nodiscard]] Result<u64> translate(mem::Vmspace& space, const engine::VcpuState& state, u64 linear,
                                    bool write);

}  // namespace bhyve::machine
