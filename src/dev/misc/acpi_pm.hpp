#pragma once
#include <functional>
#include <mutex>

#include "bus/byte_pio.hpp"
#include "dev/misc/acpi_pm_registers.hpp"
#include "intc/pins.hpp"

namespace bhyve::dev {

/// The ports of AcpiPmRegisters: PM1a event, PM1a control, GPE0 and SMI_CMD, each a role of its own
/// to be placed by the machine. Locks: one, guards the registers and the order of SCI changes;
/// on_power_off runs without it. Thread safety: any thread.
class AcpiPm final : public bus::Lifecycle, public bus::Persist {
 public:
  struct Values {
    u8 s5_sleep_type = 5, acpi_enable = 0xa0, acpi_disable = 0xa1;
  };

  AcpiPm(intc::IrqPin& sci, std::function<void()> on_power_off, Values values);
  AcpiPm(intc::IrqPin& sci, std::function<void()> on_power_off)
      : AcpiPm(sci, std::move(on_power_off), Values{5, 0xa0, 0xa1}) {}

  [[nodiscard]] bus::Pio& event_block() { return event_; }      ///< 400h, 4 ports
  [[nodiscard]] bus::Pio& control_block() { return control_; }  ///< 404h, 2 ports
  [[nodiscard]] bus::Pio& gpe0_block() { return gpe_; }         ///< 40Ch, 4 ports
  [[nodiscard]] bus::Pio& smi_command() { return smi_; }        ///< B2h, 1 port

  /// Presses the power button. False when the guest does not listen: the caller decides then.
  bool press_power_button();
  void raise_gpe(unsigned bit);  ///< 0..15

  void reset() override;
  void save(StateWriter& out) const override;
  [[nodiscard]] Result<void> load(const StateReader& in) override;

 private:
  using Read = u8 (AcpiPm::*)(u16);
  using Write = void (AcpiPm::*)(u16, u8);
  class Block final : public bus::BytePio {
   public:
    Block(AcpiPm& pm, Read read, Write write) : pm_(pm), read_(read), write_(write) {}

   private:
    u8 byte_read(u16 offset) override { return (pm_.*read_)(offset); }
    void byte_write(u16 offset, u8 value) override { (pm_.*write_)(offset, value); }

    AcpiPm& pm_;
    Read read_;
    Write write_;
  };

  u8 read_event(u16 offset);
  void write_event(u16 offset, u8 value);
  u8 read_control(u16 offset);
  void write_control(u16 offset, u8 value);
  u8 read_gpe(u16 offset);
  void write_gpe(u16 offset, u8 value);
  u8 read_smi(u16) { return 0; }
  void write_smi(u16, u8 value);
  void update_locked() { sci_.set_level(registers_.sci()); }

  intc::IrqPin& sci_;
  const std::function<void()> on_power_off_;
  const Values values_;
  mutable std::mutex mutex_;
  AcpiPmRegisters registers_;  ///< guarded by mutex_
  Block event_, control_, gpe_, smi_;
};

}  // namespace bhyve::dev
