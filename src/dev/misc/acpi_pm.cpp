#include "dev/misc/acpi_pm.hpp"

namespace bhyve::dev {

AcpiPm::AcpiPm(intc::IrqPin& sci, std::function<void()> on_power_off, Values values)
    : sci_(sci),
      on_power_off_(std::move(on_power_off)),
      values_(values),
      event_(*this, &AcpiPm::read_event, &AcpiPm::write_event),
      control_(*this, &AcpiPm::read_control, &AcpiPm::write_control),
      gpe_(*this, &AcpiPm::read_gpe, &AcpiPm::write_gpe),
      smi_(*this, &AcpiPm::read_smi, &AcpiPm::write_smi) {}

u8 AcpiPm::read_event(u16 offset) {
  const std::lock_guard lock(mutex_);
  return registers_.read_event(offset);
}

void AcpiPm::write_event(u16 offset, u8 value) {
  const std::lock_guard lock(mutex_);
  registers_.write_event(offset, value);
  update_locked();
}

u8 AcpiPm::read_control(u16 offset) {
  const std::lock_guard lock(mutex_);
  return registers_.read_control(offset);
}

void AcpiPm::write_control(u16 offset, u8 value) {
  bool off = false;
  {
    const std::lock_guard lock(mutex_);
    off = registers_.write_control(offset, value) &&
          registers_.sleep_type() == values_.s5_sleep_type;
  }
  if (off && on_power_off_) on_power_off_();
}

u8 AcpiPm::read_gpe(u16 offset) {
  const std::lock_guard lock(mutex_);
  return registers_.read_gpe(offset);
}

void AcpiPm::write_gpe(u16 offset, u8 value) {
  const std::lock_guard lock(mutex_);
  registers_.write_gpe(offset, value);
  update_locked();
}

void AcpiPm::write_smi(u16, u8 value) {
  if (value != values_.acpi_enable && value != values_.acpi_disable) return;
  const std::lock_guard lock(mutex_);
  registers_.set_acpi_mode(value == values_.acpi_enable);
  update_locked();
}

bool AcpiPm::press_power_button() {
  const std::lock_guard lock(mutex_);
  const bool heard = registers_.armed(AcpiPmRegisters::pm1_power_button);
  registers_.raise(AcpiPmRegisters::pm1_power_button);
  update_locked();
  return heard;
}

void AcpiPm::raise_gpe(unsigned bit) {
  const std::lock_guard lock(mutex_);
  registers_.raise_gpe(bit);
  update_locked();
}

void AcpiPm::reset() {
  const std::lock_guard lock(mutex_);
  registers_.reset();
  update_locked();
}

void AcpiPm::save(StateWriter& out) const {
  const std::lock_guard lock(mutex_);
  out.section("acpi_pm", 1, [this](StateWriter& w) { registers_.save(w); });
}

Result<void> AcpiPm::load(const StateReader& in) {
  const std::lock_guard lock(mutex_);
  auto loaded = in.section("acpi_pm", 1, [this](StateSection& s) { registers_.load(s); });
  if (!loaded) registers_.reset();
  update_locked();
  return loaded;
}

}  // namespace bhyve::dev
