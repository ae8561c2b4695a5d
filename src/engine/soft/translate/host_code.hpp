#pragma once
#include <cstring>

#include "base/types.hpp"

namespace bhyve::soft {

/// Host general registers by number, with the names of their parts in translated code.
///
/// Guest registers live in the host registers of the same number, but for four: the host's RSP always
/// holds the Cpu's address (so the guest's registers, TLB pointers and flags are at fixed offsets from
/// it, and calls into C++ need no stack switch: their stack lies below the Cpu), the guest's RSP
/// lives in R15, and the guest's R10, R11 and R15, the registers that compiled code uses least, stay
/// in memory. R10 and R11 of the host are scratch.
namespace host {
inline constexpr u8 rax = 0, rcx = 1, rdx = 2, rbx = 3, rsp = 4, rbp = 5, rsi = 6, rdi = 7, r8 = 8,
                    r9 = 9, r10 = 10, r11 = 11, r12 = 12, r13 = 13, r14 = 14, r15 = 15;
inline constexpr u8 s0 = r10, s1 = r11, cpu = rsp, guest_rsp = r15;
inline constexpr u8 in_memory = 0xff;
/// Host register of a guest register, or in_memory.
inline constexpr u8 of_guest[16] = {rax, rcx, rdx, rbx, guest_rsp, rbp, rsi, rdi,
                                    r8, r9, in_memory, in_memory, r12, r13, r14, in_memory};
}  // namespace host

/// A memory operand of the host. Without an index, `index` is none.
struct HostMem final {
  static constexpr u8 none = 0xff;
  u8 base;
  i32 disp = 0;
  u8 index = none;
  u8 scale = 0;  ///< log2
};

/// Writes host instructions into a buffer. Past the end it only counts: overflowed().
class HostCode final {
 public:
  HostCode(u8* begin, u8* end) : begin_(begin), at_(begin), end_(end) {}

  [[nodiscard]] u8* at() const { return at_; }
  [[nodiscard]] usize size() const { return static_cast<usize>(at_ - begin_); }
  /// True when there may be no room for another instruction or two.
  [[nodiscard]] bool overflowed() const { return end_ - at_ < 96; }

  void byte(unsigned b) {
    if (at_ < end_) *at_++ = static_cast<u8>(b);
  }
  void word(u32 v) { raw(&v, 4); }
  void quad(u64 v) { raw(&v, 8); }
  void bytes(const u8* from, unsigned n) { raw(from, n); }

  /// ModRM, SIB and displacement of a memory operand; `reg` is the register or opcode extension.
  /// `wide_disp` forces 32 bits (EVEX scales short ones).
  void modrm(u8 reg, const HostMem& m, bool wide_disp = false);
  void modrm(u8 reg, u8 rm) { byte(0xc0u | (reg & 7u) << 3 | (rm & 7u)); }

  /// [REX.W] opcode reg, rm - registers.
  void rr(unsigned opcode, u8 reg, u8 rm, bool w = true) {
    rex(w, reg, 0, rm);
    op(opcode);
    modrm(reg, rm);
  }
  /// [REX.W] opcode reg, memory.
  void rm(unsigned opcode, u8 reg, const HostMem& m, bool w = true) {
    rex(w, reg, m.index == HostMem::none ? 0 : m.index, m.base == HostMem::none ? 0 : m.base);
    op(opcode);
    modrm(reg, m);
  }
  void load(u8 reg, const HostMem& m) { rm(0x8b, reg, m); }
  void store(const HostMem& m, u8 reg) { rm(0x89, reg, m); }
  void move(u8 to, u8 from) { rr(0x8b, to, from); }
  void lea(u8 reg, const HostMem& m) { rm(0x8d, reg, m); }
  /// add/or/adc/sbb/and/sub/xor/cmp (0..7) reg, imm.
  void alu_imm(unsigned which, u8 reg, i32 imm, bool w = true);
  void move_imm(u8 reg, u64 imm);
  /// jmp/jcc/call rel32 to a known place, or with the displacement to be filled in; returns its place.
  u8* jump(const void* to = nullptr) {
    byte(0xe9);
    return rel32(to);
  }
  u8* jump_if(unsigned cc, const void* to = nullptr) {
    byte(0x0f);
    byte(0x80 | cc);
    return rel32(to);
  }
  u8* call(const void* to) {
    byte(0xe8);
    return rel32(to);
  }
  /// Makes the rel32 at `place` lead to `to`. Both in writable addresses.
  static void patch(u8* place, const u8* to) {
    const i32 d = static_cast<i32>(to - (place + 4));
    __builtin_memcpy(place, &d, 4);
  }
  void here(u8* place) { patch(place, at_); }

 private:
  void raw(const void* from, unsigned n) {
    if (static_cast<usize>(end_ - at_) < n) {
      at_ = end_;
      return;
    }
    __builtin_memcpy(at_, from, n);
    at_ += n;
  }
  void rex(bool w, u8 reg, u8 index, u8 base) {
    const unsigned b = 0x40u | unsigned{w} << 3 | (reg >> 3 & 1u) << 2 | (index >> 3 & 1u) << 1 |
                       (base >> 3 & 1u);
    if (b != 0x40) byte(b);
  }
  void op(unsigned opcode) {
    if (opcode > 0xff) byte(opcode >> 8);
    byte(opcode & 0xff);
  }
  u8* rel32(const void* to) {
    u8* place = at_;
    word(0);
    if (to && at_ - place == 4) patch(place, static_cast<const u8*>(to));
    return place;
  }
  u8 *begin_, *at_, *end_;
};

/// Condition codes and ALU numbers that the emitters use by name.
namespace cc {
inline constexpr unsigned e = 4, ne = 5, a = 7, be = 6, z = 4, nz = 5, ae = 3, b = 2;
}
namespace op {
inline constexpr unsigned add = 0, or_ = 1, and_ = 4, sub = 5, xor_ = 6, cmp = 7;
}

}  // namespace bhyve::soft
