#include "dev/ps2/i8042_lpc.hpp"

namespace bhyve::dev {
namespace {

constexpr u32 state_version = 2;

}  // namespace

I8042Lpc::I8042Lpc(intc::IrqPin& keyboard_pin, intc::IrqPin& mouse_pin,
                   std::function<void()> on_reset, bool mouse)
    : keyboard_pin_(keyboard_pin),
      mouse_pin_(mouse_pin),
      chip_(std::move(on_reset), mouse),
      data_(*this, true),
      command_(*this, false) {}

u8 I8042Lpc::read(bool data) {
  const std::lock_guard lock(mutex_);
  if (!data) return chip_.read_status();
  const u8 value = chip_.read_data();
  update_locked();  // the lines fall before the next byte raises them: they are edge triggered
  chip_.refill();
  update_locked();
  return value;
}

void I8042Lpc::write(bool data, u8 value) {
  const std::lock_guard lock(mutex_);
  if (data)
    chip_.write_data(value);
  else
    chip_.write_command(value);
  update_locked();
}

void I8042Lpc::key(std::span<const u8> scan_codes) {
  const std::lock_guard lock(mutex_);
  chip_.keyboard().key(scan_codes);
  chip_.refill();
  update_locked();
}

void I8042Lpc::update_locked() {
  keyboard_pin_.set_level(chip_.keyboard_irq());
  mouse_pin_.set_level(chip_.mouse_irq());
}

void I8042Lpc::reset() {
  const std::lock_guard lock(mutex_);
  chip_.reset();
  update_locked();
}

void I8042Lpc::save(StateWriter& out) const {
  const std::lock_guard lock(mutex_);
  out.section("i8042", state_version, [this](StateWriter& w) { chip_.save(w); });
}

Result<void> I8042Lpc::load(const StateReader& in) {
  const std::lock_guard lock(mutex_);
  auto loaded = in.section("i8042", state_version, [this](StateSection& s) { chip_.load(s); });
  if (!loaded) chip_.reset();
  update_locked();
  return loaded;
}

}  // namespace bhyve::dev
