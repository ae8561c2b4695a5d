#pragma once
#include "base/types.hpp"

/// The shape of every instruction, by opcode map: what follows the opcode byte. One table per map of
/// the manual (SDM vol. 2, appendix A; 2.3 for VEX, 2.7 for EVEX).
namespace bhyve::soft {

/// The immediate, and what becomes of it.
enum class Imm : u8 {
  none,
  key,       ///< 8 bits that belong to the form: shift counts, predicates, ports, vectors
  signed8,   ///< Insn::imm, sign-extended
  operand,   ///< operand size but at most 32 bits, sign-extended (Iz)
  full,      ///< operand size, sign-extended (Iv)
  rel8,      ///< branch displacement, sign-extended
  rel,       ///< the same of 16 or 32 bits (Jz)
  word,      ///< 16 bits, zero-extended (Iw)
};

struct OpcodeShape final {
  bool known = false;  ///< false: left to Zydis
  bool modrm = false;
  Imm imm = Imm::none;
};

enum class OpcodeMap : u8 { one_byte, map_0f, map_0f38, map_0f3a, vex2, vex3, evex };

[[nodiscard]] OpcodeShape legacy_shape(OpcodeMap map, u8 opcode);
/// VEX maps 1 to 3.
[[nodiscard]] OpcodeShape vex_shape(unsigned map, u8 opcode);
/// EVEX maps 1 to 3, 5 and 6.
[[nodiscard]] OpcodeShape evex_shape(unsigned map, u8 opcode);

}  // namespace bhyve::soft
