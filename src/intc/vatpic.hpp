#pragma once
#include "intc/i8259.hpp"

namespace bhyve::intc {

/// The PC's pair of 8259As: the slave's output is input 2 of the master. Pure state.
class Vatpic final {
 public:
  enum class Chip : u8 { master, slave };
  static constexpr unsigned inputs = 16;

  void reset();
  [[nodiscard]] u8 read(Chip chip, bool a0);
  void write(Chip chip, bool a0, u8 value);
  [[nodiscard]] u8 elcr(Chip chip) const { return of(chip).elcr(); }
  void set_elcr(Chip chip, u8 value);
  /// ISA interrupt `n` (< 16). Input 2 is taken by the slave and ignored.
  void set_input(unsigned n, bool level);

  /// INTR.
  [[nodiscard]] bool output() const { return master_.output(); }
  /// The two INTA cycles: the vector. With nothing requested it is that of IRQ 7 or IRQ 15.
  u8 acknowledge();

  void save(StateWriter& body) const;
  void load(StateSection& body);

 private:
  static constexpr unsigned cascade = 2;

  [[nodiscard]] I8259& of(Chip chip) { return chip == Chip::master ? master_ : slave_; }
  [[nodiscard]] const I8259& of(Chip chip) const {
    return chip == Chip::master ? master_ : slave_;
  }
  void settle() { master_.set_input(cascade, slave_.output()); }

  // IRQ 0, 1, 2, 8 and 13 cannot be level-triggered.
  I8259 master_{0xf8, 1u << cascade};
  I8259 slave_{0xde, 0};
};

}  // namespace bhyve::intc
