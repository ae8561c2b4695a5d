#pragma once
#include "base/types.hpp"
#include "engine/soft/decode/insn.hpp"
#include "engine/soft/decode/opcode_maps.hpp"

namespace bhyve::soft {

enum class CodeSize : u8;

/// An instruction taken to pieces: enough to find its form and to fill what is not of the form.
struct Parsed final {
  u64 form = 0;        ///< all that decides handler, registers and immediates of the form; never 0
  u64 imm = 0;         ///< extended as the shape says
  i32 disp = 0;
  u8 length = 0;
  u8 base = slot::zero, index = slot::zero;
  u8 scale = 0;        ///< log2
  u8 address_size = 0; ///< log2 bytes
  u8 seg = 3;          ///< x86::Seg of the memory operand
  bool memory = false; ///< has a ModRM memory operand
  bool rip_relative = false;
  bool disp8 = false;  ///< EVEX: the displacement counts in units that the form knows
  bool imm_apart = false;  ///< the immediate is not of the form: it goes into Insn::imm
};

/// Takes `available` (at most 15) bytes of code to pieces. False: not complete, or one of the
/// encodings that are left to Zydis.
[[nodiscard]] bool parse(CodeSize code_size, const u8* bytes, unsigned available, Parsed& out);

}  // namespace bhyve::soft
