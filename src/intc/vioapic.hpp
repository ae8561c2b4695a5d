#pragma once
#include <functional>
#include <vector>

#include "base/state.hpp"
#include "intc/lapic_bus.hpp"

namespace bhyve::intc {

/// An I/O APIC (82093AA data sheet, with the EOI register and version 20h of the ICH) as pure
/// state. Inputs are logical levels: true = asserted; the polarity bit is kept and has no effect.
/// Edges that arrive while a pin is masked are lost, as the data sheet says; levels are not.
class Vioapic final {
 public:
  /// Sends a message; false if no local APIC accepted it.
  using Send = std::function<bool(const LapicMessage&)>;

  static constexpr u32 reg_select = 0x00, reg_window = 0x10, reg_eoi = 0x40;
  static constexpr unsigned max_pins = 120;

  /// `pins` is 1 .. max_pins: each has two registers of the index space 10h..FFh.
  Vioapic(unsigned pins, Send send);

  /// Every entry masked; input levels stay what devices drive.
  void reset();
  [[nodiscard]] u32 read(u32 offset) const;
  void write(u32 offset, u32 value);
  /// The level of input `pin` (< pins()).
  void set_pin(unsigned pin, bool level);
  /// A local APIC's EOI of `vector`, broadcast or by the EOI register: level pins that are still
  /// asserted interrupt again.
  void eoi(u8 vector);

  [[nodiscard]] unsigned pins() const { return static_cast<unsigned>(pins_.size()); }
  [[nodiscard]] u64 entry(unsigned pin) const { return pins_[pin].entry; }
  [[nodiscard]] bool level(unsigned pin) const { return pins_[pin].level; }

  void save(StateWriter& body) const;
  void load(StateSection& body);

 private:
  struct Pin final {
    u64 entry = 0;
    bool level = false;
  };

  [[nodiscard]] u32 read_indirect() const;
  void write_indirect(u32 value);
  void settle_level(Pin& pin);

  const Send send_;
  u32 id_ = 0;
  u8 select_ = 0;
  std::vector<Pin> pins_;
};

}  // namespace bhyve::intc
