#include "timer/vrtc_pio.hpp"

#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

#include "timer/pio_bytes.hpp"

namespace bhyve::timer {

namespace {

constexpr unsigned ports = 4;
constexpr std::string_view section_name = "vrtc";
constexpr u32 section_version = 1;

// CMOS bytes of the memory size, in units of 64 KiB.
constexpr unsigned cmos_low = 0x34, cmos_high = 0x5b;
constexpr u64 size_unit = 64 * KiB, low_start = 16 * MiB;

}  // namespace

i64 rtc_time_of_host(bool utc) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  if (utc || ::localtime_r(&now, &local) == nullptr) return now;
  return now + local.tm_gmtoff;
}

VrtcPio::VrtcPio(CalloutWheel& wheel, intc::IrqPin& irq8, i64 seconds)
    : chip_(seconds, monotonic_now()), irq8_(irq8), callout_(wheel, [this] { callout_fired(); }) {}

void VrtcPio::publish(Nanos now) {
  const bool level = chip_.irq(now);
  if (irq_enabled_) irq8_.set_level(level);
  callout_.arm(started_ && irq_enabled_ ? chip_.next_event(now) : never);
}

void VrtcPio::callout_fired() {
  const std::lock_guard lock(lock_);
  if (started_) publish(monotonic_now());
}

u32 VrtcPio::pio_read(u16 offset, unsigned size) {
  const std::lock_guard lock(lock_);
  const Nanos now = monotonic_now();
  const u32 value =
      read_bytes(offset, size, ports, [&](unsigned port) { return chip_.read(port, now); });
  publish(now);  // reading register C lowers the pin
  return value;
}

void VrtcPio::pio_write(u16 offset, unsigned size, u32 value) {
  const std::lock_guard lock(lock_);
  const Nanos now = monotonic_now();
  write_bytes(offset, size, ports, value,
              [&](unsigned port, u8 byte) { chip_.write(port, byte, now); });
  publish(now);
}

void VrtcPio::set_irq_enabled(bool enabled) {
  const std::lock_guard lock(lock_);
  if (irq_enabled_ == enabled) return;
  irq_enabled_ = enabled;
  if (!enabled) irq8_.deassert_pin();
  publish(monotonic_now());
}

i64 VrtcPio::time() const {
  const std::lock_guard lock(lock_);
  return chip_.time(monotonic_now());
}

void VrtcPio::set_time(i64 seconds) {
  const std::lock_guard lock(lock_);
  const Nanos now = monotonic_now();
  chip_.set_time(seconds, now);
  publish(now);
}

std::optional<u8> VrtcPio::nvram(unsigned offset) const {
  const std::lock_guard lock(lock_);
  return chip_.nvram(offset);
}

bool VrtcPio::set_nvram(unsigned offset, u8 value) {
  const std::lock_guard lock(lock_);
  return chip_.set_nvram(offset, value);
}

void VrtcPio::set_memory_size(u64 lowmem, u64 highmem) {
  const u64 low = lowmem > low_start ? std::min<u64>((lowmem - low_start) / size_unit, 0xffff) : 0;
  const u64 high = std::min<u64>(highmem / size_unit, 0xff'ffff);
  const std::array<std::pair<unsigned, u64>, 5> bytes{{{cmos_low, low},
                                                       {cmos_low + 1, low >> 8},
                                                       {cmos_high, high},
                                                       {cmos_high + 1, high >> 8},
                                                       {cmos_high + 2, high >> 16}}};
  for (const auto& [offset, value] : bytes)
    [[maybe_unused]] const bool stored = set_nvram(offset, static_cast<u8>(value));
}

void VrtcPio::start() {
  const std::lock_guard lock(lock_);
  started_ = true;
  publish(monotonic_now());
}

void VrtcPio::pause() {
  {
    const std::lock_guard lock(lock_);
    started_ = false;
  }
  callout_.drain();
}

void VrtcPio::reset() {
  const std::lock_guard lock(lock_);
  const Nanos now = monotonic_now();
  chip_.reset(now);
  irq_enabled_ = true;
  publish(now);
}

void VrtcPio::save(StateWriter& out) const {
  const std::lock_guard lock(lock_);
  out.section(section_name, section_version, [this](StateWriter& w) {
    chip_.save(w, monotonic_now());
    w.put_bool(irq_enabled_);
  });
}

Result<void> VrtcPio::load(const StateReader& in) {
  const std::lock_guard lock(lock_);
  Vrtc chip = chip_;
  bool irq_enabled = true;
  Result<void> result = in.section(section_name, section_version, [&](StateSection& s) {
    chip.load(s, monotonic_now());
    irq_enabled = s.get_bool();
  });
  if (result) chip_ = chip;
  else chip_.reset(monotonic_now());
  irq_enabled_ = !result || irq_enabled;
  return result;
}

}  // namespace bhyve::timer
