#pragma once
#include "engine/soft/cpu.hpp"

/// Descriptors, selectors and the stack of a far transfer (SDM vol. 3, ch. 3, 5 and 6).
namespace bhyve::soft {

/// A segment or system descriptor as it lies in memory; `high` is the second half of the 16-byte
/// forms of long mode.
struct Descriptor final {
  u64 raw = 0, high = 0;
  u64 la = 0;  ///< linear address it was read from
  u16 selector = 0;

  [[nodiscard]] unsigned type() const { return raw >> 40 & 0xf; }
  [[nodiscard]] bool segment() const { return raw & bit(44); }
  [[nodiscard]] bool system() const { return !segment(); }
  [[nodiscard]] unsigned dpl() const { return raw >> 45 & 3; }
  [[nodiscard]] bool present() const { return raw & bit(47); }
  [[nodiscard]] bool l() const { return raw & bit(53); }
  [[nodiscard]] bool db() const { return raw & bit(54); }
  [[nodiscard]] bool code() const { return segment() && type() & 8; }
  [[nodiscard]] bool conforming() const { return code() && type() & 4; }
  [[nodiscard]] bool readable() const { return segment() && (!(type() & 8) || type() & 2); }
  [[nodiscard]] bool writable_data() const { return segment() && !(type() & 8) && type() & 2; }
  [[nodiscard]] u64 base() const;
  [[nodiscard]] u32 limit() const;
  /// The descriptor cache that loading it gives; system descriptors of long mode have a 64-bit base.
  [[nodiscard]] x86::Segment cache(u16 as_selector, bool wide_base = false) const;

  // Call, interrupt and trap gates.
  [[nodiscard]] u16 gate_selector() const { return static_cast<u16>(raw >> 16); }
  [[nodiscard]] u32 gate_offset32() const {
    return static_cast<u32>((raw & 0xffff) | (raw >> 32 & 0xffff'0000));
  }
  [[nodiscard]] u64 gate_offset64() const { return gate_offset32() | (high & 0xffff'ffff) << 32; }
};

/// System descriptor types (SDM vol. 3, table 3-2).
namespace systype {
inline constexpr unsigned tss16 = 1, ldt = 2, tss16_busy = 3, call16 = 4, task_gate = 5, int16 = 6,
                          trap16 = 7, tss32 = 9, tss32_busy = 11, call32 = 12, int32 = 14,
                          trap32 = 15;
}

[[nodiscard]] constexpr bool is_null(u16 selector) { return (selector & 0xfffc) == 0; }
[[nodiscard]] constexpr unsigned rpl_of(u16 selector) { return selector & 3; }
/// The selector's part of an error code.
[[nodiscard]] constexpr u32 selector_error(u16 selector) { return selector & 0xfffcu; }

/// Reads the descriptor of a selector that is not null. Beyond its table: raises `v` with the
/// selector and `ext`. `wide`: system descriptors have 16 bytes (long mode). False: failed().
[[nodiscard]] bool read_descriptor(Cpu& cpu, u16 selector, Descriptor& out, x86::Vector v,
                                   u32 ext = 0, bool wide = false);
/// Same, but says through `found` that the selector is beyond its table, and raises nothing then.
[[nodiscard]] bool find_descriptor(Cpu& cpu, u16 selector, Descriptor& out, bool& found,
                                   bool wide = false);
/// Sets the accessed bit in memory when it is clear, and in `d`. False: failed().
[[nodiscard]] bool mark_accessed(Cpu& cpu, Descriptor& d);

/// Puts a segment into the descriptor cache and Cpu::seg_base. Does not update_mode().
void commit_segment(Cpu& cpu, x86::Seg seg, const x86::Segment& value);
/// CS, CPL and the instruction pointer after a far transfer, then the derived mode.
inline void commit_code(Cpu& cpu, const x86::Segment& cs, unsigned cpl, u64 rip) {
  cpu.s.seg[static_cast<u8>(x86::Seg::cs)] = cs;
  cpu.set_cpl(cpl);  // derives the mode and all segment bases
  cpu.rip = rip;
}
/// The segment that real-mode (and V86) loading gives: selector * 16, the limit of before stays in
/// real mode.
[[nodiscard]] x86::Segment real_segment(Cpu& cpu, x86::Seg seg, u16 selector);
[[nodiscard]] x86::Segment v86_segment(u16 selector);
/// Flat segments as SYSCALL and SYSENTER make them.
[[nodiscard]] inline x86::Segment flat_code(u16 selector, unsigned dpl, bool long_code) {
  const u32 mode = long_code ? x86::Segment::long_mode : x86::Segment::big;
  return {selector, 0x809b | dpl << 5 | mode, 0xffff'ffff, 0};
}
[[nodiscard]] inline x86::Segment flat_data(u16 selector, unsigned dpl) {
  return {selector, 0xc093 | dpl << 5, 0xffff'ffff, 0};
}
[[nodiscard]] x86::Segment null_segment(u16 selector, unsigned dpl = 0);

/// Makes data segment registers null that the privilege level `cpl` must not use any more (return
/// to an outer level).
void drop_inner_segments(Cpu& cpu, unsigned cpl);

/// Checks a stack segment for privilege level `cpl` and reads it. `v` is the vector for everything
/// but "not present" (#SS).
[[nodiscard]] bool check_stack_segment(Cpu& cpu, u16 selector, unsigned cpl, x86::Vector v, u32 ext,
                                       Descriptor& out);
/// Reads SS:ESP of an inner privilege level out of a 16- or 32-bit TSS.
[[nodiscard]] bool read_tss_stack(Cpu& cpu, unsigned cpl, u16& ss, u64& sp, u32 ext);
/// Reads RSP0..2 (slot 0..2) or IST1..7 (slot 3 + n - 1 + 1, i.e. offset 36 + 8 n) of a 64-bit TSS.
[[nodiscard]] bool read_tss64(Cpu& cpu, unsigned offset, u64& value, u32 error);

/// The stack of a far transfer: pushes and pops at a stack pointer that becomes architectural only
/// when the transfer commits.
class FarStack final {
 public:
  /// The current stack.
  explicit FarStack(Cpu& cpu);
  /// A new one. `width`: of the stack pointer in bytes. `cpl`: whose accesses they are.
  FarStack(Cpu& cpu, const x86::Segment& ss, u64 sp, unsigned width, unsigned cpl, u32 error);

  [[nodiscard]] bool push(u64 value, unsigned size);
  [[nodiscard]] bool pop(u64& value, unsigned size);
  void skip(u64 n) { sp_ = wrap(sp_ + n); }
  void align16() { sp_ &= ~u64{15}; }
  [[nodiscard]] u64 sp() const { return sp_; }
  /// Writes the stack pointer to RSP in the width of this stack.
  void commit() const;

 private:
  [[nodiscard]] u64 wrap(u64 v) const {
    return width_ == 8 ? v : width_ == 4 ? v & 0xffff'ffff : v & 0xffff;
  }
  [[nodiscard]] bool address(u64 offset, unsigned size, u64& la) const;
  Cpu& cpu_;
  x86::Segment ss_;
  u64 sp_;
  unsigned width_;
  bool supervisor_;  ///< accesses of a level other than the current one
  bool flat_;        ///< 64-bit: no limit checks
  u32 error_;        ///< of #SS
};

}  // namespace bhyve::soft
