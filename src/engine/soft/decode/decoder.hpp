#pragma once
#include "base/types.hpp"
#include "engine/soft/decode/insn.hpp"

namespace bhyve::soft {

class Cpu;
enum class CodeSize : u8;

/// Bytes into Insns: our own parser by opcode maps (parse.hpp) and the forms that this vCPU has met
/// (form_cache.hpp). A form is bound when it is first seen, from what Zydis says about it; nobody but
/// the binders sees Zydis.
class Decoder final {
 public:
  enum class Status : u8 {
    ok,
    truncated,  ///< the instruction goes on beyond `available`
  };
  /// Decodes one instruction at `bytes`. `offset` is its distance from the block's start. What the
  /// guest's CPU does not have becomes an Insn that raises #UD; what is longer than 15 bytes one
  /// that raises #GP. `ends_block` tells that nothing can follow in the same block.
  static Status decode(Cpu& cpu, const u8* bytes, unsigned available, u16 offset, Insn& out,
                       bool& ends_block);
  /// The same by Zydis alone: for first sights, for what the parser leaves out, and the oracle of
  /// tests.
  static Status decode_by_zydis(Cpu& cpu, const u8* bytes, unsigned available, u16 offset, Insn& out,
                                bool& ends_block);
  /// True when all that the instruction does is raise #UD or #GP: this CPU does not have it.
  [[nodiscard]] static bool refused(const Insn& insn);
};

}  // namespace bhyve::soft
