#include "timer/vhpet.hpp"

#include <algorithm>
#include <cstddef>

#include "base/bits.hpp"

namespace bhyve::timer {

namespace {

// Register offsets (section 2.3.1).
constexpr u64 reg_capabilities = 0x000, reg_config = 0x010, reg_status = 0x020, reg_counter = 0x0f0,
              reg_timers = 0x100, timer_stride = 0x20, reg_timer_config = 0x00,
              reg_timer_comparator = 0x08, reg_timer_fsb = 0x10;

// General capabilities (section 2.3.4).
using CapRevision = BitRange<7, 0>;
using CapLastTimer = BitRange<12, 8>;
constexpr u64 cap_counter_64 = 1u << 13, cap_legacy = 1u << 15;
using CapVendor = BitRange<31, 16>;
using CapPeriod = BitRange<63, 32>;
constexpr u64 vendor = 0x8086, revision = 1;

// General configuration (section 2.3.5).
constexpr u64 config_enable = 1, config_legacy = 2;

// Timer configuration (section 2.3.8).
constexpr u64 timer_level = 1u << 1, timer_enable = 1u << 2, timer_periodic = 1u << 3,
              timer_set_value = 1u << 6, timer_mode_32 = 1u << 8, timer_fsb = 1u << 14;
using TimerRoute = BitRange<13, 9>;
using TimerRouteCapability = BitRange<63, 32>;
constexpr u64 timer_can_periodic = 1u << 4, timer_can_64 = 1u << 5, timer_can_fsb = 1u << 15;
constexpr u64 timer_writable = timer_level | timer_enable | timer_periodic | timer_set_value |
                               timer_mode_32 | TimerRoute::mask | timer_fsb;

constexpr u64 mask_32 = 0xffff'ffff;

constexpr u64 ticks(Nanos now) { return ticks_from_nanos(now, Vhpet::hz); }

constexpr Nanos nanos(u64 ticks) {
  constexpr u64 farthest = never / (nanos_per_second / Vhpet::hz);
  return ticks >= farthest ? never : nanos_from_ticks(ticks, Vhpet::hz);
}

constexpr u64 width_mask(u64 config) { return config & timer_mode_32 ? mask_32 : ~u64{0}; }

/// a + b, or `never` where that overflows.
constexpr u64 add_saturating(u64 a, u64 b) { return a > never - b ? never : a + b; }

}  // namespace

void Vhpet::reset() {
  config_ = status_ = halted_count_ = base_ = 0;
  timers_.fill(Timer{});
}

u32 Vhpet::capabilities() {
  return static_cast<u32>(CapRevision::make(revision) | CapLastTimer::make(timers - 1) |
                          cap_counter_64 | cap_legacy | CapVendor::make(vendor));
}

u64 Vhpet::capability_bits() const {
  return timer_can_periodic | timer_can_64 | timer_can_fsb | TimerRouteCapability::make(routes_);
}

bool Vhpet::enabled() const { return (config_ & config_enable) != 0; }

bool Vhpet::legacy_route() const { return (config_ & config_legacy) != 0; }

u64 Vhpet::counter(u64 tick) const { return enabled() ? base_ + tick : halted_count_; }

u64 Vhpet::read_register(u64 offset, u64 tick) const {
  switch (offset) {
    case reg_capabilities: return capabilities() | CapPeriod::make(period_femtoseconds);
    case reg_config: return config_;
    case reg_status: return status_;
    case reg_counter: return counter(tick);
    default: break;
  }
  const u64 index = (offset - reg_timers) / timer_stride;
  if (offset < reg_timers || index >= timers) return 0;
  const Timer& timer = timers_[index];
  switch (offset % timer_stride) {
    case reg_timer_config: return timer.config | capability_bits();
    case reg_timer_comparator: return timer.comparator;
    case reg_timer_fsb: return timer.fsb;
    default: return 0;
  }
}

u64 Vhpet::read(u64 offset, unsigned size, Nanos now) const {
  const u64 within = offset % 8;
  const u64 all = size >= 8 ? ~u64{0} : (u64{1} << (8 * size)) - 1;
  if (offset >= register_space || within + size > 8) return all;
  return read_register(offset - within, ticks(now)) >> (8 * within) & all;
}

void Vhpet::write(u64 offset, unsigned size, u64 value, Nanos now) {
  if (offset >= register_space || (size != 4 && size != 8) || offset % size != 0) return;
  const u64 shift = 8 * (offset % 8);
  const u64 mask = size == 8 ? ~u64{0} : mask_32 << shift;
  write_register(offset & ~u64{7}, value << shift & mask, mask, ticks(now));
}

void Vhpet::write_register(u64 offset, u64 value, u64 mask, u64 tick) {
  const auto merged = [&](u64 old) { return (old & ~mask) | value; };
  switch (offset) {
    case reg_capabilities: return;
    case reg_config: return write_config(merged(config_), tick);
    case reg_status: status_ &= ~value; return;
    case reg_counter:
      if (enabled()) base_ = merged(counter(tick)) - tick;
      else halted_count_ = merged(halted_count_);
      return aim_all(tick);
    default: break;
  }
  const u64 index = (offset - reg_timers) / timer_stride;
  if (offset < reg_timers || index >= timers) return;
  Timer& timer = timers_[index];
  switch (offset % timer_stride) {
    case reg_timer_config: {
      write_timer_config(timer, merged(timer.config), tick);
      if (!(timer.config & timer_level)) status_ &= ~bit(static_cast<unsigned>(index));
      return;
    }
    case reg_timer_comparator: return write_comparator(timer, value, mask, tick);
    case reg_timer_fsb: timer.fsb = merged(timer.fsb); return;
    default: return;
  }
}

void Vhpet::write_config(u64 value, u64 tick) {
  const bool was_enabled = enabled();
  const u64 count = counter(tick);
  config_ = value & (config_enable | config_legacy);
  if (enabled() == was_enabled) return;
  halted_count_ = count;
  base_ = count - tick;
  aim_all(tick);
}

void Vhpet::write_timer_config(Timer& timer, u64 value, u64 tick) {
  const u64 old = timer.config;
  timer.config = value & timer_writable;
  // An unsupported route does not read back as written (section 2.3.8, INT_ROUTE_CNF).
  if (!(routes_ & bit(static_cast<unsigned>(TimerRoute::get(value)))))
    TimerRoute::set(timer.config, 0);
  if (!((old ^ timer.config) & (timer_mode_32 | timer_periodic))) return;
  timer.comparator &= width_mask(timer.config);
  timer.period &= width_mask(timer.config);
  aim(timer, tick);
}

void Vhpet::write_comparator(Timer& timer, u64 value, u64 mask, u64 tick) {
  const u64 width = width_mask(timer.config);
  if (timer.config & timer_periodic) {
    timer.period = ((timer.period & ~mask) | value) & width;
    // Without VAL_SET the write changes the period alone (section 2.3.9.2.2).
    if (!(timer.config & timer_set_value)) return;
    timer.config &= ~timer_set_value;
  }
  timer.comparator = ((timer.comparator & ~mask) | value) & width;
  aim(timer, tick);
}

void Vhpet::aim(Timer& timer, u64 tick) {
  const u64 distance = (timer.comparator - counter(tick)) & width_mask(timer.config);
  timer.match = enabled() ? add_saturating(tick, distance) : never;
}

void Vhpet::aim_all(u64 tick) {
  for (Timer& timer : timers_) aim(timer, tick);
}

void Vhpet::advance(Timer& timer, u64 tick) {
  const u64 width = width_mask(timer.config);
  if ((timer.config & timer_periodic) && timer.period != 0) {
    const u64 periods = (tick - timer.match) / timer.period + 1;
    timer.comparator = (timer.comparator + periods * timer.period) & width;
    timer.match = add_saturating(timer.match, periods * timer.period);
    return;
  }
  // The same value matches again when the counter (or its low half) has gone round.
  const u64 turns = width == mask_32 ? ((tick - timer.match) >> 32) + 1 : 0;
  timer.match = turns != 0 ? add_saturating(timer.match, turns << 32) : never;
}

u32 Vhpet::expire(Nanos now) {
  const u64 tick = ticks(now);
  u32 fired = 0;
  for (unsigned n = 0; n < timers; ++n) {
    Timer& timer = timers_[n];
    if (timer.match == never || timer.match > tick) continue;
    advance(timer, tick);
    if (timer.config & timer_level) status_ |= bit(n);
    if (timer.config & timer_enable) fired |= static_cast<u32>(bit(n));
  }
  return fired;
}

Nanos Vhpet::next_event() const {
  u64 first = never;
  for (const Timer& timer : timers_)
    if (timer.config & timer_enable) first = std::min(first, timer.match);
  return nanos(first);
}

Nanos Vhpet::next_match(unsigned n) const { return nanos(timers_[n % timers].match); }

Nanos Vhpet::match_period(unsigned n) const {
  const Timer& timer = timers_[n % timers];
  return timer.config & timer_periodic ? nanos(timer.period) : 0;
}

HpetDelivery Vhpet::delivery(unsigned n) const {
  const Timer& timer = timers_[n % timers];
  HpetDelivery to;
  if (!(timer.config & timer_enable)) return to;
  to.level = (timer.config & timer_level) != 0;
  const auto route = static_cast<unsigned>(TimerRoute::get(timer.config));
  // Legacy replacement overrides both the route and FSB delivery of timers 0 and 1.
  if (legacy_route() && n < 2) {
    to.kind = HpetDelivery::Kind::legacy;
  } else if (timer.config & timer_fsb) {
    to.kind = HpetDelivery::Kind::msi;
    to.level = false;
    to.data = static_cast<u32>(timer.fsb);
    to.address = static_cast<u32>(timer.fsb >> 32);
  } else if (routes_ & bit(route)) {
    to.kind = HpetDelivery::Kind::pin;
    to.pin = route;
  }
  return to;
}

bool Vhpet::line(unsigned n) const {
  return enabled() && (status_ & bit(n)) && delivery(n).level;
}

void Vhpet::save(StateWriter& out, Nanos now) const {
  const u64 tick = ticks(now);
  out.put_u64(config_);
  out.put_u64(status_);
  out.put_u64(counter(tick));
  for (const Timer& timer : timers_) {
    out.put_u64(timer.config);
    out.put_u64(timer.comparator);
    out.put_u64(timer.period);
    out.put_u64(timer.fsb);
    out.put_u64(timer.match == never ? never : timer.match - std::min(timer.match, tick));
  }
}

void Vhpet::load(StateSection& in, Nanos now) {
  const u64 tick = ticks(now);
  config_ = in.get_u64();
  status_ = in.get_u64();
  halted_count_ = in.get_u64();
  base_ = halted_count_ - tick;
  if ((config_ & ~(config_enable | config_legacy)) || (status_ & ~u64{0xff})) in.reject();
  for (Timer& timer : timers_) {
    timer.config = in.get_u64();
    timer.comparator = in.get_u64();
    timer.period = in.get_u64();
    timer.fsb = in.get_u64();
    timer.match = add_saturating(tick, in.get_u64());
    const u64 width = width_mask(timer.config);
    if ((timer.config & ~timer_writable) || (timer.comparator & ~width) ||
        (timer.period & ~width) || (!enabled() && timer.match != never))
      in.reject();
  }
}

}  // namespace bhyve::timer
