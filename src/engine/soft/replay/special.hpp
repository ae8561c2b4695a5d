#pragma once
#include "engine/soft/cpu.hpp"
#include "engine/soft/replay/parked_registers.hpp"
#include "engine/soft/replay/replay.hpp"

/// Handlers behind bind_special() and what they share. Private to replay/.
namespace bhyve::soft {

[[nodiscard]] inline x86::Seg seg_of(const Insn& i) { return static_cast<x86::Seg>(+i.seg); }

/// The guest's FXSAVE head: guest pointers, defined MXCSR bits. `wide`: the 64-bit form (REX.W).
[[nodiscard]] LegacyHead export_head(Fpu& fpu, bool wide);
/// Takes FCW to FDP and the registers out of an image. The x87 component counts as in use from then on.
void import_x87(Fpu& fpu, const LegacyRegion& image, bool wide);
/// #MF, or FERR# when CR0.NE is clear.
[[nodiscard]] Step raise_x87_error(Cpu& c);

// fxsave.cpp. size = 3: the 64-bit form
Step h_fxsave(Cpu& c, const Insn& i);
Step h_fxrstor(Cpu& c, const Insn& i);

// xsave.cpp. size = 3: the 64-bit form
Step h_xsave(Cpu& c, const Insn& i);
Step h_xsaveopt(Cpu& c, const Insn& i);
Step h_xsavec(Cpu& c, const Insn& i);
Step h_xsaves(Cpu& c, const Insn& i);
Step h_xrstor(Cpu& c, const Insn& i);
Step h_xrstors(Cpu& c, const Insn& i);

// x87_env_insns.cpp. misc = 1: 32-bit format
Step h_fnstenv(Cpu& c, const Insn& i);
Step h_fldenv(Cpu& c, const Insn& i);
Step h_fnsave(Cpu& c, const Insn& i);
Step h_frstor(Cpu& c, const Insn& i);

// vsib.cpp
bool bind_vsib(const Decoded& d, Insn& out);

// maskmov.cpp
bool bind_maskmov(const Decoded& d, Insn& out);

// movdir.cpp
bool bind_movdir(const Decoded& d, Insn& out);

}  // namespace bhyve::soft
