#pragma once
#include "engine/soft/cpu.hpp"

namespace bhyve::soft {

/// The operand of an instruction of the XSAVE family after its first checks.
struct XsaveOperand final {
  u64 la = 0;
  u64 rfbm = 0;  ///< requested-feature bitmap: EDX:EAX and XCR0 (IA32_XSS is 0)
  x86::Seg seg = x86::Seg::ds;
  bool wide = false;  ///< 64-bit form: full FIP and FDP
};

/// CR4.OSXSAVE, CR0.TS, CPL of the supervisor forms, segmentation of the legacy region and header,
/// alignment. False: failed().
[[nodiscard]] bool enter_xsave(Cpu& c, const Insn& i, bool supervisor, bool write,
                               XsaveOperand& out);

}  // namespace bhyve::soft
