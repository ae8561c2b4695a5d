#pragma once
#include "base/types.hpp"
#include "engine/soft/decode/insn.hpp"

namespace bhyve::soft {

class Cpu;
enum class CodeSize : u8;

/// Bytes into Insns. Zydis does the parsing for now; nobody else sees it but the binders.
class Decoder final {
 public:
  enum class Status : u8 {
    ok,
    truncated,  ///< the instruction goes on beyond `available`
  };
  /// Decodes one instruction at `bytes`. `offset` is its distance from the block's start. What the
  /// guest's CPU does not have becomes an Insn that raises #UD; what is longer than 15 bytes one
  /// that raises #GP. `ends_block` tells that nothing can follow in the same block.
  static Status decode(const Cpu& cpu, const u8* bytes, unsigned available, u16 offset, Insn& out,
                       bool& ends_block);
};

}  // namespace bhyve::soft
