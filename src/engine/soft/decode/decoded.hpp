#pragma once
#include <Zydis/Zydis.h>

#include "engine/soft/cpu.hpp"
#include "engine/soft/decode/insn.hpp"

namespace bhyve::soft {

class StubArena;

/// An instruction as Zydis sees it, on its way to become an Insn. Only decode-time code uses it.
struct Decoded final {
  ZydisDecodedInstruction info;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
  u8 bytes[ZYDIS_MAX_INSTRUCTION_LENGTH];
  CodeSize code_size;
  const CpuModel* model;

  [[nodiscard]] bool lock() const { return info.attributes & ZYDIS_ATTRIB_HAS_LOCK; }
  /// The explicit memory operand, or nullptr.
  [[nodiscard]] const ZydisDecodedOperand* memory() const;
};

/// A family of instructions binds what it knows: fills fn and the operand fields (length, offset and
/// the memory operand are filled already) and returns true; false leaves it to the next family.
using Binder = bool (*)(const Decoded& d, Insn& out);

bool bind_integer(const Decoded& d, Insn& out);  ///< interp/: moves, arithmetic, branches, strings
bool bind_system(const Decoded& d, Insn& out);   ///< system/: everything sensitive
bool bind_replay(const Decoded& d, Insn& out, StubArena& stubs);  ///< replay/: the allow-list

/// Slot offset of a general register operand (AL..R15).
[[nodiscard]] u8 slot_of(ZydisRegister reg);

}  // namespace bhyve::soft
