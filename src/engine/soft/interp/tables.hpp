#pragma once
#include <utility>

#include "engine/soft/cpu.hpp"
#include "engine/soft/decode/decoded.hpp"

/// What the binders of the interpreter share.
namespace bhyve::soft {

/// One handler per operand size, indexed by log2 bytes.
struct BySize final {
  Handler fn[4];
  [[nodiscard]] Handler operator[](unsigned log2) const { return fn[log2]; }
};
#define BHYVE_BY_SIZE(f) \
  BySize { f<u8>, f<u16>, f<u32>, f<u64> }

/// log2 bytes of an operand of 8..64 bits.
[[nodiscard]] inline unsigned size_log2(unsigned bits) {
  return bits == 64 ? 3 : bits == 32 ? 2 : bits == 16 ? 1 : 0;
}
[[nodiscard]] inline bool is_gpr(const ZydisDecodedOperand& op) {
  return op.type == ZYDIS_OPERAND_TYPE_REGISTER && op.reg.value >= ZYDIS_REGISTER_AL &&
         op.reg.value <= ZYDIS_REGISTER_R15;
}
[[nodiscard]] inline bool is_mem(const ZydisDecodedOperand& op) {
  return op.type == ZYDIS_OPERAND_TYPE_MEMORY;
}
[[nodiscard]] inline bool is_imm(const ZydisDecodedOperand& op) {
  return op.type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

// Families of bind_integer(), each in its own file.
bool bind_alu(const Decoded& d, Insn& out);
bool bind_shift(const Decoded& d, Insn& out);
bool bind_move(const Decoded& d, Insn& out);
bool bind_stack(const Decoded& d, Insn& out);
bool bind_muldiv(const Decoded& d, Insn& out);
bool bind_bits(const Decoded& d, Insn& out);
bool bind_branch(const Decoded& d, Insn& out);
bool bind_atomic(const Decoded& d, Insn& out);
bool bind_string(const Decoded& d, Insn& out);
bool bind_decimal(const Decoded& d, Insn& out);

/// A read-modify-write of the memory operand: reads where `op` may then write. `op` gets the old
/// value and returns the new one; nothing is changed when anything fails.
template <class T, class Op>
[[nodiscard]] inline bool modify(Cpu& c, const Insn& i, Op&& op) {
  u64 la;
  if (!c.linear(i, sizeof(T), true, la)) return false;
  const auto seg = static_cast<x86::Seg>(+i.seg);
  if (std::byte* host = c.direct(la, sizeof(T), true)) [[likely]] {
    mem::ram_store<T>(host, op(mem::ram_load<T>(host)));
    return true;
  }
  T old;
  if (!c.probe_write(la, sizeof(T), seg) || !c.read<T>(la, old, seg)) return false;
  PackedFlags before = c.flags;
  const T changed = op(old);
  if (c.write<T>(la, changed, seg)) return true;
  c.flags = before;
  return false;
}

/// The locked form at a linear address: `op` gets a pointer to the operand in host memory, within a
/// cache line. Of an operand across two lines it gets a copy, while nobody else runs; and so of device
/// memory, which is not locked (nor is it on most machines).
template <class T, class Op>
[[nodiscard]] inline bool modify_locked(Cpu& c, u64 la, x86::Seg seg, Op&& op) {
  Cpu::LockedOperand at;
  if (!c.locked_operand(la, sizeof(T), seg, at)) return false;
  if (at.host && !at.second) [[likely]] {
    op(reinterpret_cast<T*>(at.host));
    return true;
  }
  if (at.host) {
    const BusLock::Hold hold(c);
    SplitOperand split(at.host, at.second, at.in_first, sizeof(T));
    T value = static_cast<T>(split.load());
    op(&value);
    split.store(value);
    return true;
  }
  T value;
  if (!c.read<T>(la, value, seg)) return false;
  PackedFlags before = c.flags;
  op(&value);
  if (c.write<T>(la, value, seg)) return true;
  c.flags = before;
  return false;
}

/// The same of the instruction's memory operand.
template <class T, class Op>
[[nodiscard]] inline bool modify_locked(Cpu& c, const Insn& i, Op&& op) {
  u64 la;
  return c.linear(i, sizeof(T), true, la) &&
         modify_locked<T>(c, la, static_cast<x86::Seg>(+i.seg), op);
}

}  // namespace bhyve::soft
