#pragma once
#include "engine/soft/system/descriptor.hpp"

namespace bhyve::soft {

/// Checks the code segment that RET or IRET returns to (SDM vol. 2, RET; vol. 3, 5.8.6), `rip`
/// included. The new privilege level is the selector's RPL. False: failed().
[[nodiscard]] bool check_return_code(Cpu& cpu, u16 selector, u64 rip, Descriptor& out);
/// Checks the stack segment of a return to another level; a null selector is allowed where 64-bit
/// mode allows it. `out` is what SS becomes.
[[nodiscard]] bool check_return_stack(Cpu& cpu, u16 selector, const Descriptor& cs, unsigned cpl,
                                      x86::Segment& out);
/// Checks that `rip` may be executed in code segment `cs`: canonical, or inside of the limit.
[[nodiscard]] bool check_target(Cpu& cpu, const Descriptor& cs, u64 rip);
/// commit_code() and the stack of a return to an outer level.
void commit_outer(Cpu& cpu, const x86::Segment& cs, unsigned cpl, u64 rip, const x86::Segment& ss, u64 rsp);

}  // namespace bhyve::soft
