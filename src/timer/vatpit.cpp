#include "timer/vatpit.hpp"

#include "base/bits.hpp"

namespace bhyve::timer {

namespace {

// Control word (port 43h).
using ControlSelect = BitRange<7, 6>;
using ControlAccess = BitRange<5, 4>;
using ControlMode = BitRange<3, 1>;
using ControlBcd = BitRange<0>;
constexpr unsigned select_read_back = 3;
// Read-back command: a zero bit latches.
constexpr u8 read_back_no_count = 0x20, read_back_no_status = 0x10;
// Status byte.
constexpr u8 status_output = 0x80, status_null = 0x40;
// Port 61h.
constexpr u8 speaker_gate = 0x01, speaker_stored = 0x0f, speaker_refresh = 0x10,
             speaker_output = 0x20;
/// DRAM refresh of the PC/AT: channel 1 divided by 18 toggles the bit, 15.085 us.
constexpr Nanos refresh_toggle = 15'085;

constexpr u64 ticks(Nanos now) { return ticks_from_nanos(now, Vatpit::hz); }

}  // namespace

u64 VatpitChannel::decode(u16 raw) const {
  if (!bcd_) return raw == 0 ? 0x1'0000 : raw;
  u64 value = 0;
  for (int shift = 12; shift >= 0; shift -= 4) value = value * 10 + ((raw >> shift) & 0xfu);
  // Digits above 9 are the guest's mistake; the data sheet leaves the result open.
  value %= 10'000;
  return value == 0 ? 10'000 : value;
}

u16 VatpitChannel::encode(u64 value) const {
  value %= modulus();
  if (!bcd_) return static_cast<u16>(value);
  u16 raw = 0;
  for (unsigned shift = 0; shift < 16; shift += 4, value /= 10)
    raw = static_cast<u16>(raw | (value % 10) << shift);
  return raw;
}

u64 VatpitChannel::elapsed(u64 tick) const {
  switch (phase_) {
    case Phase::stopped: return 0;
    case Phase::frozen: return frozen_at_;
    case Phase::counting: break;
  }
  const u64 done = tick - start_;
  return static_cast<i64>(done) < 0 ? 0 : done;
}

u16 VatpitChannel::count(u64 tick) const {
  const u64 done = elapsed(tick);
  if (mode_ == 2) return encode(initial_ - done % initial_);
  if (mode_ == 3) {
    // Steps of two; an odd count is entered one lower and its high half is one clock longer.
    const u64 high = (initial_ + 1) / 2, at = done % initial_;
    const u64 top = initial_ & ~u64{1};
    const u64 down = 2 * (at < high ? at : at - high);
    return encode(top >= down ? top - down : 0);
  }
  return encode(initial_ + modulus() - done % modulus());
}

bool VatpitChannel::settled_output(u64 tick) const {
  const u64 done = elapsed(tick);
  const bool started = phase_ != Phase::stopped;
  switch (mode_) {
    case 0: return started && done >= initial_;
    case 1: return !started || done >= initial_;
    case 2: return !started || initial_ == 1 || done % initial_ != initial_ - 1;
    case 3: return !started || done % initial_ < (initial_ + 1) / 2;
    default: return !started || done != initial_;  // 4 and 5: low for one clock
  }
}

u64 VatpitChannel::settled_next_rise(u64 tick) const {
  if (phase_ != Phase::counting) return never;
  const u64 done = elapsed(tick);
  if (periodic()) {
    const u64 rise = start_ + (done / initial_ + 1) * initial_;
    // A new count takes over in the middle of the period only in mode 3.
    if (next_ != 0 && static_cast<i64>(next_tick_ - rise) < 0) return next_tick_ + next_ / 2;
    return rise;
  }
  const u64 rise_after = mode_ >= 4 ? initial_ + 1 : initial_;
  return done < rise_after ? start_ + rise_after : never;
}

bool VatpitChannel::output(u64 tick) const {
  VatpitChannel settled = *this;
  settled.settle(tick);
  return settled.settled_output(tick);
}

u64 VatpitChannel::next_rise(u64 tick) const {
  VatpitChannel settled = *this;
  settled.settle(tick);
  return settled.settled_next_rise(tick);
}

u64 VatpitChannel::period(u64 tick) const {
  VatpitChannel settled = *this;
  settled.settle(tick);
  return settled.periodic() ? settled.initial_ : 0;
}

void VatpitChannel::settle(u64 tick) {
  if (next_ == 0 || !periodic() || phase_ != Phase::counting) return;
  if (static_cast<i64>(tick - next_tick_) < 0) return;
  // In mode 3 the switch may come at the half period: the low half of the new count follows.
  const bool low_half = mode_ == 3 && (next_tick_ - start_) % initial_ != 0;
  initial_ = next_;
  start_ = low_half ? next_tick_ - (initial_ + 1) / 2 : next_tick_;
  next_ = 0;
  null_ = false;
}

void VatpitChannel::set_control(Access access, u8 mode, bool bcd) {
  access_ = access;
  mode_ = mode >= 6 ? static_cast<u8>(mode - 4) : mode;  // 110 and 111 are modes 2 and 3
  bcd_ = bcd;
  phase_ = Phase::stopped;
  initial_ = modulus();
  next_ = 0;
  null_ = true;
  write_high_ = read_high_ = false;
  count_latched_ = status_latched_ = false;
}

void VatpitChannel::load_count(u16 raw, u64 tick) {
  const u64 value = decode(raw);
  if (triggered()) {  // takes effect at the next trigger
    next_ = value;
    null_ = true;
    return;
  }
  if (periodic() && phase_ == Phase::counting) {
    const u64 unit = mode_ == 3 ? (initial_ + 1) / 2 : initial_;
    const u64 at = elapsed(tick) % initial_;
    const u64 period_start = tick - at;
    next_ = value;
    next_tick_ = at < unit ? period_start + unit : period_start + initial_;
    null_ = true;
    return;
  }
  initial_ = value;
  next_ = 0;
  null_ = false;
  start_ = tick;
  if (gate_) phase_ = Phase::counting;
  else if (periodic()) phase_ = Phase::stopped;
  else { phase_ = Phase::frozen; frozen_at_ = 0; }
}

void VatpitChannel::write(u8 value, u64 tick) {
  settle(tick);
  switch (access_) {
    case Access::low: return load_count(value, tick);
    case Access::high: return load_count(static_cast<u16>(value << 8), tick);
    default: break;
  }
  if (write_high_) {
    write_high_ = false;
    return load_count(static_cast<u16>(value << 8 | write_low_), tick);
  }
  write_low_ = value;
  write_high_ = true;
  if (mode_ == 0) phase_ = Phase::stopped;  // the first byte stops the count, output goes low
}

u8 VatpitChannel::read(u64 tick) {
  settle(tick);
  if (status_latched_) {
    status_latched_ = false;
    return latched_status_;
  }
  const u16 value = count_latched_ ? latched_count_ : count(tick);
  const bool high = access_ == Access::high || (access_ == Access::word && read_high_);
  if (access_ == Access::word) read_high_ = !read_high_;
  if (access_ != Access::word || high) count_latched_ = false;
  return static_cast<u8>(high ? value >> 8 : value);
}

void VatpitChannel::latch_count(u64 tick) {
  if (count_latched_) return;  // the first latch stays until it is read
  settle(tick);
  latched_count_ = count(tick);
  count_latched_ = true;
}

void VatpitChannel::latch_status(u64 tick) {
  if (status_latched_) return;
  settle(tick);
  latched_status_ = static_cast<u8>((output(tick) ? status_output : 0) | (null_ ? status_null : 0) |
                                    ControlAccess::make(static_cast<u8>(access_)) |
                                    ControlMode::make(mode_) | ControlBcd::make(bcd_));
  status_latched_ = true;
}

void VatpitChannel::set_gate(bool high, u64 tick) {
  if (high == gate_) return;
  settle(tick);
  gate_ = high;
  if (!high) {
    if (triggered() || phase_ != Phase::counting) return;
    frozen_at_ = elapsed(tick);
    phase_ = periodic() ? Phase::stopped : Phase::frozen;
    return;
  }
  if (phase_ == Phase::frozen) {
    phase_ = Phase::counting;
    start_ = tick - frozen_at_;
    return;
  }
  // A rising gate loads the count again in modes 1, 2, 3 and 5, once there is one.
  const bool has_count = next_ != 0 || !null_;
  if (!has_count || !(triggered() || periodic())) return;
  if (next_ != 0) initial_ = next_;
  next_ = 0;
  null_ = false;
  start_ = tick;
  phase_ = Phase::counting;
}

void VatpitChannel::save(StateWriter& out, u64 tick) const {
  out.put_u8(static_cast<u8>(access_));
  out.put_u8(mode_);
  out.put_bool(bcd_);
  out.put_bool(gate_);
  out.put_u8(static_cast<u8>(phase_));
  out.put_u64(elapsed(tick));
  out.put_u32(static_cast<u32>(initial_));
  out.put_u32(static_cast<u32>(next_));
  out.put_u64(next_tick_ - tick);
  out.put_bool(null_);
  out.put_bool(write_high_);
  out.put_bool(read_high_);
  out.put_u8(write_low_);
  out.put_bool(count_latched_);
  out.put_bool(status_latched_);
  out.put_u16(latched_count_);
  out.put_u8(latched_status_);
}

void VatpitChannel::load(StateSection& in, u64 tick) {
  const u8 access = in.get_u8();
  access_ = static_cast<Access>(access);
  mode_ = in.get_u8();
  bcd_ = in.get_bool();
  gate_ = in.get_bool();
  const u8 phase = in.get_u8();
  phase_ = static_cast<Phase>(phase);
  const u64 done = in.get_u64();
  initial_ = in.get_u32();
  next_ = in.get_u32();
  next_tick_ = tick + in.get_u64();
  null_ = in.get_bool();
  write_high_ = in.get_bool();
  read_high_ = in.get_bool();
  write_low_ = in.get_u8();
  count_latched_ = in.get_bool();
  status_latched_ = in.get_bool();
  latched_count_ = in.get_u16();
  latched_status_ = in.get_u8();
  start_ = tick - done;
  frozen_at_ = done;
  if (access < 1 || access > 3 || mode_ > 5 || phase > static_cast<u8>(Phase::frozen) ||
      done > ~u64{0} >> 2 || initial_ == 0 || initial_ > modulus() || next_ > modulus())
    in.reject();
}

Vatpit::Vatpit() { channels_[2].set_gate(false, 0); }

u8 Vatpit::read(unsigned port, Nanos now) {
  return port < channels ? channels_[port].read(ticks(now)) : u8{0xff};
}

void Vatpit::write(unsigned port, u8 value, Nanos now) {
  const u64 tick = ticks(now);
  if (port < channels) return channels_[port].write(value, tick);
  if (port != channels) return;
  const auto select = static_cast<unsigned>(ControlSelect::get(value));
  if (select == select_read_back) return read_back(value, tick);
  const auto access = static_cast<VatpitChannel::Access>(ControlAccess::get(value));
  if (access == VatpitChannel::Access::latch) return channels_[select].latch_count(tick);
  channels_[select].set_control(access, static_cast<u8>(ControlMode::get(value)),
                                ControlBcd::get(value) != 0);
}

void Vatpit::read_back(u8 value, u64 tick) {
  for (unsigned n = 0; n < channels; ++n) {
    if (!(value & (2u << n))) continue;
    if (!(value & read_back_no_count)) channels_[n].latch_count(tick);
    if (!(value & read_back_no_status)) channels_[n].latch_status(tick);
  }
}

u8 Vatpit::read_speaker(Nanos now) const {
  const bool refresh = (now / refresh_toggle) & 1;
  return static_cast<u8>(speaker_ | (refresh ? speaker_refresh : 0) |
                         (output(2, now) ? speaker_output : 0));
}

void Vatpit::write_speaker(u8 value, Nanos now) {
  speaker_ = value & speaker_stored;
  channels_[2].set_gate((value & speaker_gate) != 0, ticks(now));
}

bool Vatpit::output(unsigned channel, Nanos now) const {
  return channels_[channel % channels].output(ticks(now));
}

Nanos Vatpit::next_edge(Nanos now) const {
  const u64 tick = channels_[0].next_rise(ticks(now));
  return tick == never ? never : nanos_from_ticks(tick, hz);
}

Nanos Vatpit::edge_period(Nanos now) const {
  return nanos_from_ticks(channels_[0].period(ticks(now)), hz);
}

void Vatpit::save(StateWriter& out, Nanos now) const {
  for (const VatpitChannel& channel : channels_) channel.save(out, ticks(now));
  out.put_u8(speaker_);
}

void Vatpit::load(StateSection& in, Nanos now) {
  for (VatpitChannel& channel : channels_) channel.load(in, ticks(now));
  speaker_ = in.get_u8();
  if (speaker_ & ~speaker_stored) in.reject();
}

}  // namespace bhyve::timer
