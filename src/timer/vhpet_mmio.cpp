#include "timer/vhpet_mmio.hpp"

#include <algorithm>
#include <utility>

#include "base/bits.hpp"
#include "timer/pio_bytes.hpp"

namespace bhyve::timer {

namespace {

constexpr std::string_view section_name = "vhpet";
constexpr u32 section_version = 1;

u32 connected(const VhpetWiring& wiring) {
  u32 pins = 0;
  for (unsigned n = 0; n < wiring.pins.size(); ++n)
    if (wiring.pins[n]) pins |= static_cast<u32>(bit(n));
  return pins;
}

}  // namespace

VhpetMmio::VhpetMmio(CalloutWheel& wheel, u32 routes, VhpetWiring wiring)
    : wiring_(std::move(wiring)),
      chip_(routes & connected(wiring_)),
      callout_(wheel, [this] { callout_fired(); }) {}

intc::IrqPin* VhpetMmio::line_of(unsigned timer) const {
  const HpetDelivery to = chip_.delivery(timer);
  switch (to.kind) {
    case HpetDelivery::Kind::legacy: return timer == 0 ? wiring_.legacy_irq0 : wiring_.legacy_irq8;
    case HpetDelivery::Kind::pin: return wiring_.pins[to.pin % wiring_.pins.size()];
    default: return nullptr;
  }
}

void VhpetMmio::fire(unsigned timer) {
  const HpetDelivery to = chip_.delivery(timer);
  if (to.kind == HpetDelivery::Kind::msi) {
    if (wiring_.msi) wiring_.msi->msi(to.address, to.data);
    return;
  }
  intc::IrqPin* pin = line_of(timer);
  if (to.level || !pin) return;  // drive_lines() does level
  // A pulse would drop a line that a level timer holds.
  if (std::find(held_.begin(), held_.end(), pin) == held_.end()) pin->pulse();
}

void VhpetMmio::drive_lines() {
  std::array<intc::IrqPin*, Vhpet::timers> wanted{};
  for (unsigned n = 0; n < Vhpet::timers; ++n)
    if (chip_.line(n)) wanted[n] = line_of(n);
  const std::array<intc::IrqPin*, Vhpet::timers> before = std::exchange(held_, wanted);
  const auto holds = [](const auto& set, intc::IrqPin* pin) {
    return std::find(set.begin(), set.end(), pin) != set.end();
  };
  for (intc::IrqPin* pin : before)
    if (pin && !holds(wanted, pin)) pin->deassert_pin();
  for (intc::IrqPin* pin : wanted)
    if (pin && !holds(before, pin)) pin->assert_pin();
}

/// Timer 0 is the system's tick and stands for the PIT.
bool VhpetMmio::ticks_on_irq0() const {
  const HpetDelivery to = chip_.delivery(0);
  return to.kind == HpetDelivery::Kind::legacy && !to.level && chip_.match_period(0) != 0;
}

void VhpetMmio::irq_taken() {
  const std::lock_guard lock(lock_);
  if (started_ && ticks_on_irq0() && owed_.take()) fire(0);
}

void VhpetMmio::settle(Nanos now) {
  const Nanos due = chip_.next_match(0);
  const u32 fired = chip_.expire(now);
  if ((fired & 1) && ticks_on_irq0()) owed_.deliver(due, chip_.match_period(0), now);
  for (unsigned n = 0; n < Vhpet::timers; ++n)
    if (fired & bit(n)) fire(n);
  if (fired) drive_lines();
}

void VhpetMmio::publish() {
  if (legacy_ != chip_.legacy_route()) {
    legacy_ = chip_.legacy_route();
    if (wiring_.legacy_changed) wiring_.legacy_changed(legacy_);
  }
  drive_lines();
  callout_.arm(started_ ? chip_.next_event() : never);
}

void VhpetMmio::callout_fired() {
  const std::lock_guard lock(lock_);
  if (!started_) return;
  const Nanos now = monotonic_now();
  settle(now);
  const Nanos next = chip_.next_event();
  callout_.arm(next == never ? never : std::max(next, now + min_interval_nanos));
}

u64 VhpetMmio::mmio_read(u64 offset, unsigned size, VcpuId) {
  const std::lock_guard lock(lock_);
  const Nanos now = monotonic_now();
  // Comparators and status change on their own; interrupts found due here are not due again later.
  settle(now);
  return chip_.read(offset, size, now);
}

void VhpetMmio::mmio_write(u64 offset, unsigned size, u64 value, VcpuId) {
  const std::lock_guard lock(lock_);
  const Nanos now = monotonic_now();
  settle(now);
  chip_.write(offset, size, value, now);
  if (!ticks_on_irq0()) owed_.forget();
  settle(now);  // a comparator written equal to the counter matches at once
  publish();
}

void VhpetMmio::start() {
  const std::lock_guard lock(lock_);
  started_ = true;
  publish();
}

void VhpetMmio::pause() {
  {
    const std::lock_guard lock(lock_);
    started_ = false;
    owed_.forget();
  }
  callout_.drain();
}

void VhpetMmio::reset() {
  const std::lock_guard lock(lock_);
  chip_.reset();
  publish();
}

void VhpetMmio::save(StateWriter& out) const {
  const std::lock_guard lock(lock_);
  out.section(section_name, section_version,
              [this](StateWriter& w) { chip_.save(w, monotonic_now()); });
}

Result<void> VhpetMmio::load(const StateReader& in) {
  const std::lock_guard lock(lock_);
  Vhpet chip = chip_;
  chip.reset();
  Result<void> result = in.section(section_name, section_version,
                                   [&](StateSection& s) { chip.load(s, monotonic_now()); });
  if (!result) chip.reset();
  chip_ = chip;
  return result;
}

}  // namespace bhyve::timer
