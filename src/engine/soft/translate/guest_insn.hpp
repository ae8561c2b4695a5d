#pragma once
#include "base/types.hpp"
#include "engine/soft/decode/insn.hpp"

namespace bhyve::soft {

/// The arithmetic flags as a mask, in LAHF's places; OF is bit 3, which LAHF does not use.
namespace flag {
inline constexpr u8 cf = 0x01, pf = 0x04, of = 0x08, af = 0x10, zf = 0x40, sf = 0x80;
inline constexpr u8 all = cf | pf | of | af | zf | sf, none = 0;
/// Flags that condition code `cc` reads (SDM vol. 1, appendix B).
[[nodiscard]] u8 of_condition(unsigned cc);
}  // namespace flag

/// How the translator treats an instruction.
enum class Kind : u8 {
  callout,    ///< the interpreter's handler
  nothing,    ///< no operation
  copy,       ///< operands in ModRM (and VEX.vvvv) substituted, else as it is
  copy_plain, ///< as it is: no ModRM, registers that are the same on the host
  move_imm,   ///< B0..BF
  bswap,
  lea,
  push, pop, push_imm, leave,
  ret, call, jump, jump_cond, jump_indirect, call_indirect,
  cli, sti, stac, swapgs, rdtsc, rdtscp, pushf,  ///< STAC: CLAC too
};

enum class Encoding : u8 { legacy, vex, evex };

/// The parts of an instruction's bytes and what the translator has to know of it. Lives while its
/// block is translated. `bytes` point into the block's raw copy.
struct GuestInsn final {
  const Insn* insn = nullptr;
  const u8* bytes = nullptr;
  Kind kind = Kind::callout;
  Encoding encoding = Encoding::legacy;
  u8 prefix66 = 0, rep = 0;  ///< 66h; F2h or F3h when present
  bool lock = false;
  bool code32 = false;       ///< of 32-bit code: addresses and stack operands have four bytes
  u8 rex = 0;
  u8 map = 0;                ///< 0 one-byte, 1 0F, 2 0F38, 3 0F3A
  u8 opcode = 0, modrm = 0;
  u8 vex_at = 0;             ///< offset of C4h, C5h or 62h
  u8 imm_at = 0, imm_size = 0;
  bool has_modrm = false;
  // Which fields name general registers, and what happens to the operands.
  bool reg_gpr = false, rm_gpr = false, vvvv_gpr = false;
  bool reg_written = false, rm_written = false, vvvv_written = false;
  bool byte_reg = false, byte_rm = false;  ///< 8-bit register operands: AH..BH are possible
  bool rm_in_register = false;  ///< rm may not become a memory operand: it would mean something else
  bool mem_read = false, mem_written = false;
  u8 size = 0;               ///< bytes of the memory operand
  u8 gate = 0;               ///< 1 + Gate when vector or x87 registers are used, else 0
  bool x87 = false;
  bool aligned = false;      ///< the operand must be, else it is #GP (ReplayPlan::alignment)
  bool masked = false;       ///< faults of elements that a mask suppresses do not happen (ReplayPlan::masking)
  // Flags.
  u8 reads = 0, writes = 0;
  u8 live_after = flag::all;
  u8 live_at_target = flag::all;  ///< of a direct branch

  /// Bytes of a stack operand and of a branch target.
  [[nodiscard]] u8 word() const { return code32 ? 4 : 8; }
  [[nodiscard]] bool memory() const { return has_modrm && modrm < 0xc0; }
  /// A locked access: XCHG with memory needs no prefix for it (SDM vol. 2, XCHG).
  [[nodiscard]] bool locks() const {
    return memory() && (lock || (encoding == Encoding::legacy && map == 0 && (opcode | 1) == 0x87));
  }
  [[nodiscard]] u8 reg() const;   ///< 0..15 with REX.R or VEX.R
  [[nodiscard]] u8 rm() const;
  [[nodiscard]] u8 vvvv() const;
  /// General registers that it writes, by number; those of the stack pointer by PUSH, POP, CALL, RET and
  /// LEAVE are not among them. All for callouts.
  [[nodiscard]] u16 gpr_written() const;
  /// The whole of register `to` becomes that of `from` plus a constant.
  struct Sum {
    bool known = false;
    u8 to = 0, from = 0;
    i64 constant = 0;
  };
  [[nodiscard]] Sum sum() const;
  /// The register operand is AH, CH, DH or BH.
  [[nodiscard]] bool high_byte(u8 number) const { return !rex && number >= 4 && number <= 7; }
};

/// Parses and classifies an instruction of 64-bit code, or of flat 32-bit code, whose length is known.
/// Unknown ones become callouts.
[[nodiscard]] GuestInsn classify(const Insn& insn, const u8* bytes, bool code32);

}  // namespace bhyve::soft
