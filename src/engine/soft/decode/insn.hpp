#pragma once
#include "base/types.hpp"

namespace bhyve::soft {

class Cpu;
struct Insn;

/// What an instruction's handler came to. Handlers change no guest state before every access that
/// may fail has succeeded, so that anything but `next`, `branch` and `stop` means "not executed".
enum class Step : u8 {
  next,    ///< done; go on with the next instruction of the block
  branch,  ///< done; Cpu::rip is set, look the next block up
  stop,    ///< done; Cpu::rip is set and the mode or the interrupt state may have changed
  fault,   ///< not executed; Cpu::fault() tells the exception to deliver
  exit,    ///< not executed; Cpu::exit_record() is filled, leave run()
  single,  ///< not executed; execute it again alone (a store into code, see Cpu::step_one())
  repeat,  ///< a REP iteration is done and more are to follow; registers show the progress
};

using Handler = Step (*)(Cpu&, const Insn&);

/// Register operands are byte offsets into Cpu::gpr, so that AH..BH need no special case. Two slots
/// lie behind the 16 registers: one that is always zero and one that holds the address of the
/// block's first byte (for RIP-relative operands).
namespace slot {
inline constexpr u8 zero = 16 * 8, rip = 17 * 8, count = 18;
[[nodiscard]] constexpr u8 of(unsigned gpr) { return static_cast<u8>(gpr * 8); }
}  // namespace slot

/// How the effective address is computed.
enum class Ea : u8 {
  none,
  flat64,   ///< 64-bit addressing in 64-bit mode: no limit, no wrap
  general,  ///< everything else: address-size wrap, segment limits
};

/// Repeat and lock prefixes.
enum class Prefix : u8 { none = 0, rep = 1, repne = 2, lock = 4 };

/// A decoded instruction, 32 bytes. What a handler needs and no more; the raw bytes are gone.
struct Insn final {
  Handler fn = nullptr;
  u64 imm = 0;        ///< immediate, branch displacement, 64-bit absolute address, or a pointer
  i32 disp = 0;       ///< displacement; for RIP-relative operands it counts from the block's start
  u16 offset = 0;     ///< of the instruction's first byte from the block's first byte
  u8 length = 0;
  u8 dst = 0, src = 0;          ///< register operands (slot offsets)
  u8 base = slot::zero, index = slot::zero;
  u8 scale : 2 = 0;             ///< log2
  Ea ea : 2 = Ea::none;
  u8 address_size : 2 = 3;      ///< log2 bytes: 1, 2 or 3
  u8 size : 2 = 0;              ///< operand size, log2 bytes
  u8 seg : 4 = 3;               ///< x86::Seg of the memory operand: for limits and #SS
  u8 base_seg : 4 = 8;          ///< index into Cpu::seg_base; 8 is always zero
  u8 prefix : 3 = 0;            ///< Prefix
  u8 misc : 5 = 0;              ///< condition code, segment or control register number ...

  bool operator==(const Insn&) const = default;
};
static_assert(sizeof(Insn) == 32);

}  // namespace bhyve::soft
