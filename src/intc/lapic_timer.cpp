#include "intc/lapic_timer.hpp"

#include <algorithm>

namespace bhyve::intc {

void LapicTimer::reset() {
  mode_ = Mode::one_shot;
  divide_ = 2;
  initial_ = 0;
  running_ = false;
  tsc_ = 0;
  tsc_when_ = never;
}

void LapicTimer::set_mode(Mode mode) {
  if (mode == mode_) return;
  mode_ = mode;
  initial_ = 0;
  running_ = false;
  tsc_ = 0;
  tsc_when_ = never;
}

void LapicTimer::set_initial_count(u32 count, Nanos now) {
  if (mode_ == Mode::tsc_deadline) return;
  initial_ = count;
  running_ = count != 0 && mode_ != Mode::reserved;
  origin_ = now;
  target_ = period();
}

void LapicTimer::set_divide(u32 value, Nanos now) {
  const u32 code = (value & 3) | (value >> 1 & 4);
  const u32 divide = code == 7 ? 1 : 2u << code;
  if (running_) {
    const u64 count = current_count(now);
    origin_ = now;
    target_ = count * divide;
  }
  divide_ = divide;
}

void LapicTimer::set_tsc_deadline(u64 tsc, Nanos when) {
  if (mode_ != Mode::tsc_deadline) return;
  tsc_ = tsc;
  tsc_when_ = tsc == 0 ? never : when;
}

u64 LapicTimer::remaining_ticks(Nanos now) const {
  const u64 ticks = elapsed(now);
  return ticks < target_ ? target_ - ticks : 0;
}

u32 LapicTimer::current_count(Nanos now) const {
  if (!running_) return 0;
  u64 left = remaining_ticks(now);
  if (left == 0) {
    if (mode_ != Mode::periodic) return 0;
    left = period() - (elapsed(now) - target_) % period();
  }
  return static_cast<u32>((left + divide_ - 1) / divide_);
}

Nanos LapicTimer::deadline() const {
  if (mode_ == Mode::tsc_deadline) return tsc_when_;
  return running_ ? origin_ + nanos_from_ticks(target_, hz_) : never;
}

bool LapicTimer::expire(Nanos now) {
  const Nanos due = deadline();
  if (due == never || now < due) return false;
  if (mode_ == Mode::tsc_deadline) {
    set_tsc_deadline(0, never);
    return true;
  }
  if (mode_ != Mode::periodic) {
    running_ = false;
    return true;
  }
  const u64 ticks = std::max(elapsed(now), target_);
  target_ += ((ticks - target_) / period() + 1) * period();
  const u64 earliest = ticks + ticks_from_nanos(min_period, hz_);
  if (period() < ticks_from_nanos(min_period, hz_) && target_ < earliest)
    target_ += ((earliest - target_) / period() + 1) * period();
  return true;
}

void LapicTimer::resume(u32 initial, u64 remaining, Nanos now) {
  initial_ = initial;
  running_ = initial != 0 && (mode_ == Mode::one_shot || mode_ == Mode::periodic);
  origin_ = now;
  target_ = remaining;
}

}  // namespace bhyve::intc
