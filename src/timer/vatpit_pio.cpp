#include "timer/vatpit_pio.hpp"

#include <algorithm>

#include "timer/pio_bytes.hpp"

namespace bhyve::timer {

namespace {
constexpr unsigned ports = 4;
constexpr std::string_view section_name = "vatpit";
constexpr u32 section_version = 1;
}  // namespace

VatpitPio::VatpitPio(CalloutWheel& wheel, intc::IrqPin& irq0)
    : irq0_(irq0), callout_(wheel, [this] { expire(); }) {}

void VatpitPio::rearm(Nanos now) {
  due_ = started_ && irq_enabled_ ? chip_.next_edge(now) : never;
  if (due_ == never) owed_.forget();
  callout_.arm(due_ == never ? never : std::max(due_, now + min_interval_nanos));
}

void VatpitPio::edge() {
  irq0_.deassert_pin();
  irq0_.assert_pin();
}

void VatpitPio::irq_taken() {
  const std::lock_guard lock(lock_);
  if (started_ && irq_enabled_ && owed_.take()) edge();
}

void VatpitPio::drive(Nanos now) {
  if (irq_enabled_) irq0_.set_level(chip_.output(0, now));
}

void VatpitPio::expire() {
  const std::lock_guard lock(lock_);
  if (!started_ || !irq_enabled_) return;
  const Nanos now = monotonic_now();
  owed_.deliver(due_, chip_.edge_period(now), now);
  edge();
  rearm(now);
}

u32 VatpitPio::pio_read(u16 offset, unsigned size) {
  const std::lock_guard lock(lock_);
  const Nanos now = monotonic_now();
  return read_bytes(offset, size, ports, [&](unsigned port) { return chip_.read(port, now); });
}

void VatpitPio::pio_write(u16 offset, unsigned size, u32 value) {
  const std::lock_guard lock(lock_);
  const Nanos now = monotonic_now();
  bool channel0 = false;
  write_bytes(offset, size, ports, value, [&](unsigned port, u8 byte) {
    chip_.write(port, byte, now);
    if (port == 0) owed_.forget();  // another count
    channel0 |= port == 0 || port == ports - 1;
  });
  if (!channel0) return;
  drive(now);
  rearm(now);
}

u32 VatpitPio::Speaker::pio_read(u16 offset, unsigned size) {
  const std::lock_guard lock(owner_.lock_);
  const Nanos now = monotonic_now();
  return read_bytes(offset, size, 1, [&](unsigned) { return owner_.chip_.read_speaker(now); });
}

void VatpitPio::Speaker::pio_write(u16 offset, unsigned size, u32 value) {
  const std::lock_guard lock(owner_.lock_);
  const Nanos now = monotonic_now();
  write_bytes(offset, size, 1, value,
              [&](unsigned, u8 byte) { owner_.chip_.write_speaker(byte, now); });
}

void VatpitPio::set_irq_enabled(bool enabled) {
  const std::lock_guard lock(lock_);
  if (irq_enabled_ == enabled) return;
  const Nanos now = monotonic_now();
  irq_enabled_ = enabled;
  owed_.forget();
  if (enabled) drive(now);
  else irq0_.deassert_pin();
  rearm(now);
}

void VatpitPio::start() {
  const std::lock_guard lock(lock_);
  const Nanos now = monotonic_now();
  started_ = true;
  drive(now);
  rearm(now);
}

void VatpitPio::pause() {
  {
    const std::lock_guard lock(lock_);
    started_ = false;
    owed_.forget();
  }
  callout_.drain();
}

void VatpitPio::reset() {
  const std::lock_guard lock(lock_);
  chip_ = Vatpit();
  irq_enabled_ = true;
}

void VatpitPio::save(StateWriter& out) const {
  const std::lock_guard lock(lock_);
  out.section(section_name, section_version, [this](StateWriter& w) {
    chip_.save(w, monotonic_now());
    w.put_bool(irq_enabled_);
  });
}

Result<void> VatpitPio::load(const StateReader& in) {
  const std::lock_guard lock(lock_);
  Vatpit chip;
  bool irq_enabled = true;
  Result<void> result = in.section(section_name, section_version, [&](StateSection& s) {
    chip.load(s, monotonic_now());
    irq_enabled = s.get_bool();
  });
  chip_ = result ? chip : Vatpit();
  irq_enabled_ = !result || irq_enabled;
  return result;
}

}  // namespace bhyve::timer
