#pragma once
#include "base/types.hpp"

namespace bhyve::soft {

/// What must be switched on for an instruction to execute (SDM vol. 3, 2.5, 13.1).
enum class Gate : u8 {
  none,    ///< general registers only (BMI, ADX, CRC32)
  x87,     ///< #NM by CR0.EM or CR0.TS
  wait,    ///< FWAIT: #NM by CR0.MP and CR0.TS together
  mmx,     ///< #UD by CR0.EM, #NM by CR0.TS
  sse,     ///< also CR4.OSFXSR
  avx,     ///< CR4.OSXSAVE and XCR0.AVX
  avx512,  ///< ... and XCR0's opmask and ZMM bits
  vex_gpr, ///< VEX-encoded on general registers: #UD outside of protected mode only
};

/// How the memory operand is used.
enum class MemoryUse : u8 { none, read, write, read_write };

/// How the elements of a memory operand are suppressed by a mask, for accesses that cannot be done
/// whole: faults of suppressed elements do not happen.
enum class Masking : u8 {
  none,
  opmask,    ///< EVEX mask k1..k7: element n is accessed when bit n is set
  compress,  ///< VPCOMPRESS/VPEXPAND: as many elements as there are set bits, without gaps
  octets,    ///< VPSHUFBITQMB: eight mask bits an element, which is accessed when any is set
  vector,    ///< AVX VMASKMOV/VPMASKMOV: sign bits of the mask register
};

/// How to execute one instruction by the host's own. Immutable, shared by content.
struct ReplayPlan final {
  /// Returns 0, or the host's trap number + 1. `gpr` is Cpu::gpr, `memory` the operand.
  using Stub = u32 (*)(u64* gpr, void* memory);

  Stub stub = nullptr;
  u16 memory_bytes = 0;
  MemoryUse use = MemoryUse::none;
  Gate gate = Gate::none;
  bool simd = false;        ///< needs the guest's FPU state live
  bool x87_pointers = false;  ///< records FIP, FDP, FOP
  bool x87_waits = false;     ///< a pending x87 exception comes before any fault of the operand
  u8 alignment = 1;           ///< that the memory operand must have, else #GP(0)
  u16 fop = 0;
  Masking masking = Masking::none;
  u8 mask_register = 0;     ///< k or vector register
  u8 element_bytes = 0;
  u8 vector_bytes = 0;      ///< of the operation, for masks by vector
};

}  // namespace bhyve::soft
