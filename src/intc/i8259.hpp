#pragma once
#include "base/state.hpp"
#include "base/types.hpp"

namespace bhyve::intc {

/// One 8259A interrupt controller (Intel 8259A data sheet) in 8086 mode, with the edge/level
/// control register of the PIIX. Pure state; Vatpic wires two of them.
class I8259 final {
 public:
  /// `elcr_mask`: inputs that may be made level-triggered. `cascade`: the input that follows a
  /// slave's output instead of latching edges (a bit mask, 0 = none).
  I8259(u8 elcr_mask, u8 cascade) : elcr_mask_(elcr_mask), cascade_(cascade) {}

  /// Power-up: not initialised, requests nothing. Input levels stay.
  void reset();
  /// Port A0 = 0 (command, OCW2, OCW3) and A0 = 1 (data).
  [[nodiscard]] u8 read(bool a0);
  void write(bool a0, u8 value);
  [[nodiscard]] u8 elcr() const { return elcr_; }
  void set_elcr(u8 value);
  void set_input(unsigned n, bool level);  ///< n < 8

  /// The INT output.
  [[nodiscard]] bool output() const { return request() >= 0; }
  /// An INTA cycle: the number of the input served, or -1 if there was none (spurious: the vector
  /// is that of input 7, and nothing goes into service).
  int acknowledge();
  [[nodiscard]] u8 vector(int input) const {
    return static_cast<u8>(base_ | (input < 0 ? 7 : input));
  }

  void save(StateWriter& body) const;
  void load(StateSection& body);

 private:
  /// What the next write to A0 = 1 is.
  enum class Expect : u8 { ocw1, icw2, icw3, icw4 };
  enum class ReadRegister : u8 { irr, isr };

  [[nodiscard]] int request() const;
  [[nodiscard]] int highest(u8 bits) const;
  [[nodiscard]] u8 level_inputs() const {
    return static_cast<u8>(cascade_ | (level_triggered_ ? 0xff : elcr_));
  }
  void write_icw1(u8 value);
  void write_ocw2(u8 value);
  void write_ocw3(u8 value);
  void write_data(u8 value);

  u8 elcr_mask_, cascade_;  ///< wiring, never changed
  u8 irr_ = 0, isr_ = 0, imr_ = 0, lines_ = 0, elcr_ = 0;
  u8 base_ = 0;              ///< vector bits 7:3 (ICW2)
  u8 lowest_ = 7;            ///< input of the lowest priority
  Expect expect_ = Expect::ocw1;
  ReadRegister read_register_ = ReadRegister::irr;
  bool single_ = false;      ///< ICW1 bit 1: no ICW3
  bool wants_icw4_ = false;  ///< ICW1 bit 0
  bool level_triggered_ = false;
  bool initialised_ = false;
  bool auto_eoi_ = false, rotate_on_auto_eoi_ = false, special_nested_ = false,
       special_mask_ = false, poll_ = false;
};

}  // namespace bhyve::intc
