#pragma once
#include "engine/soft/system/descriptor.hpp"

namespace bhyve::soft {

/// The stack segment of a return, checked: a descriptor, or null where 64-bit mode allows it.
struct ReturnStack final {
  u16 selector = 0;
  bool null = false;
  Descriptor d;
  [[nodiscard]] x86::Segment segment(unsigned cpl) const;  ///< what SS becomes, at level `cpl`
};

/// Checks the code segment that RET or IRET returns to (SDM vol. 2, RET; vol. 3, 5.8.6). The new
/// privilege level is the selector's RPL. False: failed().
[[nodiscard]] bool check_return_code(Cpu& cpu, u16 selector, Descriptor& out);
/// Checks the stack segment of a return that pops one; `cs` is what is returned to.
[[nodiscard]] bool check_return_stack(Cpu& cpu, u16 selector, const Descriptor& cs, unsigned cpl,
                                      ReturnStack& out);
/// The last check of a return, that of `rip`; then marks the descriptors accessed. `stack` is null
/// when none is popped.
[[nodiscard]] bool finish_return_checks(Cpu& cpu, Descriptor& cs, u64 rip, ReturnStack* stack);
/// Checks that `rip` may be executed in code segment `cs`: canonical, or inside of the limit.
[[nodiscard]] bool check_target(Cpu& cpu, const Descriptor& cs, u64 rip);
/// commit_code() and the stack of a return that pops one.
void commit_outer(Cpu& cpu, const x86::Segment& cs, unsigned cpl, u64 rip, const x86::Segment& ss, u64 rsp);

}  // namespace bhyve::soft
