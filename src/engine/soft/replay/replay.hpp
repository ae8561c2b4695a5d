#pragma once
#include "engine/soft/cpu.hpp"
#include "engine/soft/decode/decoded.hpp"
#include "engine/soft/replay/replay_plan.hpp"

/// Native replay: execute the guest's instruction by the host's own, operands substituted.
namespace bhyve::soft {

/// True when the CPU's mode lets an instruction of this class execute; else the fault is raised.
[[nodiscard]] bool pass_gate(Cpu& cpu, Gate gate);

/// The same without raising anything.
[[nodiscard]] bool gate_open(const Cpu& cpu, Gate gate);
/// Vector registers may not stay the guest's across C++: sanitizers use them.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
inline constexpr bool eager_park = true;
#else
inline constexpr bool eager_park = false;
#endif

/// Runs the stub and turns the host's trap, if any, into the guest's exception. Step::next when it
/// executed. The FPU must be live when plan.simd.
[[nodiscard]] Step run_stub(Cpu& cpu, const ReplayPlan& plan, void* memory);

/// Stands in for an instruction whose stub found no room: never executed, it tells whoever decodes
/// to make room (Cpu::make_stub_room()) and to decode again.
Step no_stub_room(Cpu& cpu, const Insn& i);
/// The two handlers of replayed instructions, whose Insn::imm is a ReplayPlan.
Step replay(Cpu& cpu, const Insn& i);
Step replay_memory(Cpu& cpu, const Insn& i);
[[nodiscard]] inline bool is_replay(const Insn& i) {
  return i.fn == replay || i.fn == replay_memory;
}
/// What a trap of the host (number as the processor counts) in a replayed instruction means to the
/// guest.
[[nodiscard]] Step replay_trapped(Cpu& cpu, unsigned trap);

/// Instructions that cannot be replayed by substituting ModRM: XSAVE and FXSAVE families, x87
/// environments, gathers and scatters, MASKMOV. False: not one of them.
bool bind_special(const Decoded& d, Insn& out, StubArena& stubs);

/// A masked access that cannot be done whole at once (page border, fault, device): element by
/// element, suppressed elements untouched. `i.imm` is the plan; la its linear address.
[[nodiscard]] Step replay_masked(Cpu& cpu, const Insn& i, const ReplayPlan& plan, u64 la);

}  // namespace bhyve::soft
