#pragma once
#include "engine/soft/translate/guest_insn.hpp"

/// How classify() fills in what kinds of instructions have in common.
namespace bhyve::soft::rule {

[[nodiscard]] inline unsigned operand_bytes(const GuestInsn& g) {
  return g.rex & 8 ? 8 : g.prefix66 ? 2 : 4;
}

/// reg and rm are general registers; which of them is written.
inline void general(GuestInsn& g, bool reg_written, bool rm_written, bool is_byte) {
  g.kind = Kind::copy;
  g.reg_gpr = g.rm_gpr = true;
  g.reg_written = reg_written;
  g.rm_written = rm_written;
  g.byte_reg = g.byte_rm = is_byte;
  g.size = static_cast<u8>(is_byte ? 1 : operand_bytes(g));
  g.mem_read = true;
  g.mem_written = rm_written;
}
/// Only rm is a register: ModRM.reg extends the opcode.
inline void group(GuestInsn& g, bool written, bool is_byte) {
  general(g, false, written, is_byte);
  g.reg_gpr = g.byte_reg = false;
}

/// An instruction that the interpreter replays (guest_insn_replayed.cpp).
void replayed(GuestInsn& g);

}  // namespace bhyve::soft::rule
