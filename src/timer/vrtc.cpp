#include "timer/vrtc.hpp"

#include <algorithm>

#include "base/bits.hpp"

namespace bhyve::timer {

namespace {

enum Reg : unsigned {
  second = 0, second_alarm = 1, minute = 2, minute_alarm = 3, hour = 4, hour_alarm = 5,
  weekday = 6, day = 7, month = 8, year = 9,
  reg_a = 10, reg_b = 11, reg_c = 12, reg_d = 13, first_memory = 14, century = 0x32,
};

// Register A.
constexpr u8 a_update_in_progress = 0x80;
using ADivider = BitRange<6, 4>;
using ARate = BitRange<3, 0>;
constexpr u64 divider_32khz = 2;
constexpr u64 divider_reset_first = 6;  // 110 and 111 hold the divider in reset
// Register B.
constexpr u8 b_set = 0x80, b_periodic = 0x40, b_alarm = 0x20, b_update = 0x10, b_binary = 0x04,
             b_24_hours = 0x02;
// Register C: the flags have the positions of their enables in B.
constexpr u8 c_irq = 0x80;
constexpr u8 interrupt_bits = b_periodic | b_alarm | b_update;
// Register D.
constexpr u8 d_valid_ram_and_time = 0x80;

constexpr u8 hour_pm = 0x80;
constexpr u8 alarm_any = 0xc0;  // values C0h..FFh match always
/// Update in progress rises this long before the second changes (data sheet, t_BUC).
constexpr Nanos update_lead = 244'000;
constexpr i64 seconds_per_day = 86'400;

constexpr bool is_time(unsigned reg) {
  return reg == century || (reg <= year && reg != second_alarm && reg != minute_alarm &&
                            reg != hour_alarm);
}

}  // namespace

Vrtc::Vrtc(i64 seconds, Nanos now)
    : base_seconds_(std::clamp(seconds, calendar_first, calendar_last)),
      base_(now),
      settled_(now) {
  memory_[reg_a] = static_cast<u8>(ADivider::make(divider_32khz) | ARate::make(6));
  memory_[reg_b] = b_24_hours;
  show(base_seconds_);
}

void Vrtc::reset(Nanos now) {
  settle(now);
  memory_[reg_b] &= static_cast<u8>(~(interrupt_bits | 0x08));
  memory_[reg_c] = 0;
  index_ = upper_index_ = 0;
}

bool Vrtc::ticking() const {
  return valid_ && !(memory_[reg_b] & b_set) && ADivider::get(memory_[reg_a]) == divider_32khz;
}

u64 Vrtc::whole_seconds(Nanos now) const {
  return now > base_ ? (now - base_) / nanos_per_second : 0;
}

i64 Vrtc::time(Nanos now) const {
  if (!ticking()) return base_seconds_;
  return std::min(base_seconds_ + static_cast<i64>(whole_seconds(now)), calendar_last);
}

void Vrtc::set_time(i64 seconds, Nanos now) {
  settle(now);
  base_seconds_ = std::clamp(seconds, calendar_first, calendar_last);
  base_ = settled_ = now;
  valid_ = true;
  show(base_seconds_);
}

u8 Vrtc::encode(unsigned value) const {
  if (memory_[reg_b] & b_binary) return static_cast<u8>(value);
  return static_cast<u8>(value / 10 << 4 | value % 10);
}

std::optional<unsigned> Vrtc::decode(u8 raw) const {
  if (memory_[reg_b] & b_binary) return raw;
  const unsigned high = raw >> 4, low = raw & 0xfu;
  if (high > 9 || low > 9) return std::nullopt;
  return high * 10 + low;
}

u8 Vrtc::encode_hour(unsigned value) const {
  if (memory_[reg_b] & b_24_hours) return encode(value);
  const u8 twelve = encode(value % 12 == 0 ? 12 : value % 12);
  return static_cast<u8>(twelve | (value >= 12 ? hour_pm : 0));
}

std::optional<unsigned> Vrtc::decode_hour(u8 raw) const {
  if (memory_[reg_b] & b_24_hours) return decode(raw);
  const std::optional<unsigned> twelve = decode(static_cast<u8>(raw & ~hour_pm));
  if (!twelve || *twelve < 1 || *twelve > 12) return std::nullopt;
  return *twelve % 12 + (raw & hour_pm ? 12 : 0);
}

void Vrtc::show(i64 seconds) {
  const CalendarTime time = calendar_from_seconds(seconds);
  memory_[second] = encode(time.second);
  memory_[minute] = encode(time.minute);
  memory_[hour] = encode_hour(time.hour);
  memory_[weekday] = encode(time.weekday);
  memory_[day] = encode(time.day);
  memory_[month] = encode(time.month);
  memory_[year] = encode(time.year % 100);
  memory_[century] = encode(time.year / 100);
}

void Vrtc::adopt_registers(Nanos now) {
  const auto at = [this](unsigned reg) { return decode(memory_[reg]).value_or(~0u); };
  CalendarTime time;
  const unsigned hundreds = at(century), years = at(year);
  time.year = hundreds > 99 || years > 99 ? ~0u : hundreds * 100 + years;
  time.month = at(month);
  time.day = at(day);
  time.hour = decode_hour(memory_[hour]).value_or(~0u);
  time.minute = at(minute);
  time.second = at(second);
  i64 seconds = 0;
  valid_ = seconds_from_calendar(time, seconds);
  if (!valid_) return;  // the registers keep what the guest wrote until it writes a real time
  base_seconds_ = seconds;
  base_ += whole_seconds(now) * nanos_per_second;  // the divider's phase stays
}

unsigned Vrtc::periodic_hz() const {
  const auto rate = static_cast<unsigned>(ARate::get(memory_[reg_a]));
  if (rate == 0 || ADivider::get(memory_[reg_a]) != divider_32khz) return 0;
  return rate <= 2 ? 256u >> (rate - 1) : 32'768u >> (rate - 1);
}

std::optional<unsigned> Vrtc::alarm_field(unsigned reg, bool& any) const {
  any = memory_[reg] >= alarm_any;
  if (any) return 0;
  return reg == hour_alarm ? decode_hour(memory_[reg]) : decode(memory_[reg]);
}

std::optional<i64> Vrtc::next_alarm(i64 after) const {
  bool any_hour = false, any_minute = false, any_second = false;
  const std::optional<unsigned> h = alarm_field(hour_alarm, any_hour);
  const std::optional<unsigned> m = alarm_field(minute_alarm, any_minute);
  const std::optional<unsigned> s = alarm_field(second_alarm, any_second);
  if (!h || !m || !s || *h > 23 || *m > 59 || *s > 59) return std::nullopt;
  // The first match at or after `from`, minute by minute over at most one day and a minute.
  const i64 from = after + 1;
  i64 at = from;
  for (unsigned n = 0; n <= 24 * 60; ++n) {
    const i64 in_day = (at % seconds_per_day + seconds_per_day) % seconds_per_day;
    const i64 in_minute = in_day % 60;
    const bool fits = (any_hour || in_day / 3600 == *h) && (any_minute || in_day / 60 % 60 == *m);
    if (fits && any_second) return at;
    if (fits && in_minute <= static_cast<i64>(*s)) return at - in_minute + *s;
    at += 60 - in_minute;
  }
  return std::nullopt;
}

void Vrtc::settle(Nanos now) {
  if (now <= settled_) return;
  u8 flags = 0;
  if (const unsigned hz = periodic_hz(); hz != 0) {
    const auto ticks = [&](Nanos t) { return t > base_ ? ticks_from_nanos(t - base_, hz) : 0; };
    if (ticks(now) != ticks(settled_)) flags |= b_periodic;
  }
  if (ticking()) {
    const i64 before = time(settled_), after = time(now);
    if (before != after) {
      flags |= b_update;
      const std::optional<i64> alarm = next_alarm(before);
      if (alarm && *alarm <= after) flags |= b_alarm;
    }
  }
  memory_[reg_c] |= flags;
  settled_ = now;
}

bool Vrtc::irq_flag() const {
  return (memory_[reg_b] & memory_[reg_c] & interrupt_bits) != 0;
}

bool Vrtc::irq(Nanos now) {
  settle(now);
  return irq_flag();
}

Nanos Vrtc::next_event(Nanos now) const {
  const u8 enabled = memory_[reg_b] & interrupt_bits;
  if (enabled == 0 || irq_flag()) return never;
  const Nanos since = now > base_ ? now - base_ : 0;
  Nanos next = never;
  if (const unsigned hz = periodic_hz(); hz != 0 && (enabled & b_periodic))
    next = base_ + nanos_from_ticks(ticks_from_nanos(since, hz) + 1, hz);
  if (!ticking()) return next;
  if (enabled & b_update)
    next = std::min(next, base_ + (whole_seconds(now) + 1) * nanos_per_second);
  if (enabled & b_alarm) {
    if (const std::optional<i64> alarm = next_alarm(time(now)))
      next = std::min(next, base_ + static_cast<u64>(*alarm - base_seconds_) * nanos_per_second);
  }
  return next;
}

bool Vrtc::update_in_progress(Nanos now) const {
  if (!ticking() || now < base_) return false;
  return (now - base_) % nanos_per_second >= nanos_per_second - update_lead;
}

u8 Vrtc::read_register(unsigned reg, Nanos now) {
  settle(now);
  switch (reg) {
    case reg_a:
      return static_cast<u8>(memory_[reg_a] | (update_in_progress(now) ? a_update_in_progress : 0));
    case reg_c: {
      const u8 value = static_cast<u8>(memory_[reg_c] | (irq_flag() ? c_irq : 0));
      memory_[reg_c] = 0;
      return value;
    }
    case reg_d: return d_valid_ram_and_time;
    default: break;
  }
  if (is_time(reg) && ticking()) show(time(now));
  return memory_[reg];
}

void Vrtc::write_register(unsigned reg, u8 value, Nanos now) {
  settle(now);
  if (reg == reg_a || reg == reg_b) return write_control(reg, value, now);
  if (reg == reg_c || reg == reg_d) return;
  if (!is_time(reg)) {
    memory_[reg] = value;
    return;
  }
  if (ticking()) show(time(now));
  memory_[reg] = value;
  adopt_registers(now);
}

void Vrtc::write_control(unsigned reg, u8 value, Nanos now) {
  const bool was_ticking = ticking();
  const bool was_reset = ADivider::get(memory_[reg_a]) >= divider_reset_first;
  const u64 seconds_now = whole_seconds(now);
  if (was_ticking) {
    base_seconds_ = time(now);
    base_ += seconds_now * nanos_per_second;
    show(base_seconds_);  // what the registers hold if this write stops the clock
  }
  memory_[reg] = reg == reg_a ? static_cast<u8>(value & ~a_update_in_progress) : value;
  const bool is_reset = ADivider::get(memory_[reg_a]) >= divider_reset_first;
  // The first update after the divider leaves reset comes half a second later.
  if (was_reset && !is_reset) base_ = now - std::min(now, nanos_per_second / 2);
  if (ticking() && !was_ticking) adopt_registers(now);
}

u8 Vrtc::read(unsigned port, Nanos now) {
  switch (port) {
    case 1: return read_register(index_, now);
    case 3: return upper_[upper_index_];
    default: return 0xff;
  }
}

void Vrtc::write(unsigned port, u8 value, Nanos now) {
  switch (port) {
    case 0: index_ = value % bank_size; return;  // bit 7 masks NMI, which has no source here
    case 1: return write_register(index_, value, now);
    case 2: upper_index_ = value % bank_size; return;
    case 3: upper_[upper_index_] = value; return;
    default: return;
  }
}

bool Vrtc::set_nvram(unsigned offset, u8 value) {
  if (offset < first_memory || offset >= bank_size || offset == century) return false;
  memory_[offset] = value;
  return true;
}

std::optional<u8> Vrtc::nvram(unsigned offset) const {
  if (offset < first_memory || offset >= bank_size || offset == century) return std::nullopt;
  return memory_[offset];
}

void Vrtc::save(StateWriter& out, Nanos now) const {
  Vrtc settled = *this;
  settled.settle(now);
  const bool runs = ticking();
  if (runs) settled.show(time(now));
  out.put_bytes(settled.memory_);
  out.put_bytes(upper_);
  out.put_u8(index_);
  out.put_u8(upper_index_);
  out.put_bool(valid_);
  out.put_u64(static_cast<u64>(time(now)));
  out.put_u32(static_cast<u32>(now > base_ ? (now - base_) % nanos_per_second : 0));
}

void Vrtc::load(StateSection& in, Nanos now) {
  in.get_bytes(memory_);
  in.get_bytes(upper_);
  index_ = in.get_u8();
  upper_index_ = in.get_u8();
  valid_ = in.get_bool();
  base_seconds_ = static_cast<i64>(in.get_u64());
  const u32 fraction = in.get_u32();
  base_ = now - std::min<Nanos>(now, fraction);
  settled_ = now;
  if (index_ >= bank_size || upper_index_ >= bank_size || fraction >= nanos_per_second ||
      base_seconds_ < calendar_first || base_seconds_ > calendar_last ||
      (memory_[reg_a] & a_update_in_progress) || (memory_[reg_c] & ~interrupt_bits))
    in.reject();
}

}  // namespace bhyve::timer
