#pragma once
#include <span>

#include "base/types.hpp"

namespace bhyve::soft {

/// Writes the few host instructions that surround a replayed one. RDI points at Cpu::gpr, RSI at the
/// memory operand; RAX, RCX, RDX, R8..R11 are free.
class StubWriter final {
 public:
  void byte(u8 b) {
    if (used_ < sizeof code_) code_[used_++] = b;
  }
  void bytes(std::span<const u8> all) {
    for (const u8 b : all) byte(b);
  }
  /// mov host, [rdi + offset] and back, 64 bits.
  void load(unsigned host, u32 offset) { access(0x8b, host, offset); }
  void store(unsigned host, u32 offset) { access(0x89, host, offset); }
  /// movzx host32, byte [rdi + offset]: for AH, CH, DH, BH.
  void load_byte(unsigned host, u32 offset);
  /// Packed flags at [rdi + offset] into RFLAGS; uses RAX.
  void flags_in(u32 offset);
  /// ... and out again; uses RAX.
  void flags_out(u32 offset);
  /// xor eax, eax; ret.
  void finish();

  [[nodiscard]] std::span<const u8> code() const { return {code_, used_}; }
  [[nodiscard]] bool overflowed() const { return used_ == sizeof code_; }

 private:
  void access(u8 opcode, unsigned host, u32 offset);
  void word(u32 v);
  u8 code_[160];
  unsigned used_ = 0;
};

}  // namespace bhyve::soft
