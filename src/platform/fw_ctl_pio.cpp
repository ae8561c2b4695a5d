#include "platform/fw_ctl_pio.hpp"

#include "bus/access.hpp"

namespace bhyve::platform {

u32 FwCtlPio::pio_read(u16 offset, unsigned size) {
  if (offset != 1) return static_cast<u32>(bus::all_ones(size));
  const std::lock_guard lock(mutex_);
  if (size == 1) return chip_.next_byte();
  if (size == 4) return chip_.read();
  return static_cast<u32>(bus::all_ones(size));
}

void FwCtlPio::pio_write(u16 offset, unsigned size, u32 value) {
  if (offset != 0) return;
  const std::lock_guard lock(mutex_);
  if (size == 2) chip_.select(static_cast<u16>(value));
  else if (size == 4) chip_.write(value);
}

void FwCtlPio::reset() {
  const std::lock_guard lock(mutex_);
  chip_.reset();
}

void FwCtlPio::save(StateWriter& out) const {
  const std::lock_guard lock(mutex_);
  out.section("fw_ctl", 1, [this](StateWriter& w) { chip_.save(w); });
}

Result<void> FwCtlPio::load(const StateReader& in) {
  const std::lock_guard lock(mutex_);
  auto loaded = in.section("fw_ctl", 1, [this](StateSection& s) { chip_.load(s); });
  if (!loaded) chip_.reset();
  return loaded;
}

}  // namespace bhyve::platform
