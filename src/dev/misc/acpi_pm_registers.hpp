#pragma once
#include "base/state.hpp"
#include "base/types.hpp"

namespace bhyve::dev {

/// Fixed ACPI hardware (ACPI 6.4 section 4.8): the registers and what they make of events. Pure.
class AcpiPmRegisters final {
 public:
  enum Pm1 : u16 { pm1_global_lock = 1 << 5, pm1_power_button = 1 << 8, pm1_rtc = 1 << 10 };
  static constexpr u16 event_ports = 4;    ///< status, enable: 2 bytes each
  static constexpr u16 control_ports = 2;
  static constexpr u16 gpe_ports = 4;      ///< status, enable: 2 bytes each

  [[nodiscard]] u8 read_event(u16 offset) const;
  void write_event(u16 offset, u8 value);
  [[nodiscard]] u8 read_control(u16 offset) const;
  /// Returns true when the guest asked for the sleep state of `sleep_type()`.
  [[nodiscard]] bool write_control(u16 offset, u8 value);
  [[nodiscard]] u8 sleep_type() const;
  [[nodiscard]] u8 read_gpe(u16 offset) const;
  void write_gpe(u16 offset, u8 value);

  void set_acpi_mode(bool on);  ///< SCI_EN, which only SMI_CMD changes
  void raise(Pm1 event) { status_ = static_cast<u16>(status_ | event); }
  void raise_gpe(unsigned bit) { gpe_status_ = static_cast<u16>(gpe_status_ | 1u << (bit & 15)); }
  /// Whether an event of this kind would interrupt the guest now.
  [[nodiscard]] bool armed(Pm1 event) const;
  /// Level of the system control interrupt.
  [[nodiscard]] bool sci() const;

  void reset() { *this = AcpiPmRegisters(); }
  void save(StateWriter& out) const;
  void load(StateSection& in);

 private:
  u16 status_ = 0, enable_ = 0, control_ = 0, gpe_status_ = 0, gpe_enable_ = 0;
};

}  // namespace bhyve::dev
