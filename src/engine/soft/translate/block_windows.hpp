#pragma once
#include <array>
#include <vector>

#include "base/types.hpp"
#include "engine/soft/translate/guest_insn.hpp"

namespace bhyve::soft {

/// Finds memory operands of a block that lie at constant distances from each other: `[rbx+8]` and
/// `[rbx+16]`, or the pushes at the start of a function and its locals behind them. Such a window needs
/// one look into the TLB, before its first access; when all of it lies in one page that may be accessed
/// like that, the others go there straight.
///
/// Registers are followed through moves and additions of constants. Whatever else writes one gives it a
/// new origin; the interpreter's handlers end all windows, as they may change what is allowed.
class BlockWindows final {
 public:
  static constexpr u8 none = 0xff;

  struct Window {
    unsigned count = 0;     ///< accesses
    i64 low = 0, high = 0;  ///< first byte and end, counted from the origin
    bool write = false;
    bool stack = false;     ///< first reached by the stack pointer
    u8 slot = none;         ///< of TranslatedFrame::slot, or none: it is where the frame keeps the stack
  };
  /// One instruction's access.
  struct Access {
    u8 window = none;
    bool first = false;
    u8 base = 0;   ///< guest register, in a host register
    i32 disp = 0;  ///< of the operand from it
    i64 low = 0;   ///< of the window from the origin, less where the base register is: for the check
  };

  /// Forgets the block before. `frame_stack`: the first window of the stack is where the frame keeps it.
  void analyse(const std::vector<GuestInsn>& insns, bool frame_stack);

  /// Of the memory operand. For CALL with one: the stack is accessed as well, see stack().
  [[nodiscard]] const Access& operand(unsigned n) const { return operand_[n]; }
  /// Of the implied access to the stack.
  [[nodiscard]] const Access& stack(unsigned n) const { return stack_[n]; }
  [[nodiscard]] const Window& window(const Access& a) const { return windows_[a.window]; }
  /// How far the window reaches, in bytes.
  [[nodiscard]] unsigned span(const Access& a) const {
    const Window& w = windows_[a.window];
    return static_cast<unsigned>(w.high - w.low);
  }

 private:
  /// What is known of a register's value.
  struct Value {
    unsigned origin;
    i64 offset;
  };
  void fresh(unsigned gpr) { values_[gpr] = {origins_++, 0}; }
  void forget_all();
  void access(Access& a, unsigned base, i64 disp, unsigned size, bool write);
  void note_operand(unsigned n, const GuestInsn& g);
  void note_stack(unsigned n, const GuestInsn& g);
  void note_effects(const GuestInsn& g);
  void choose(bool frame_stack);

  static constexpr i64 limit = 1024;  ///< bytes: a longer window would seldom fit into a page
  std::array<Value, 16> values_{};
  unsigned origins_ = 0;
  std::vector<u8> open_;     ///< by origin: its window
  std::vector<Window> windows_;
  std::vector<Access> operand_, stack_;
  std::vector<u8> kept_;
};

}  // namespace bhyve::soft
