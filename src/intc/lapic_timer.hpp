#pragma once
#include "base/clock.hpp"
#include "base/types.hpp"

namespace bhyve::intc {

/// The timer of a local APIC (SDM vol. 3, 11.5.4) as pure state: no lock, no clock. Times are
/// CLOCK_MONOTONIC nanoseconds; ticks are of the input clock, before the divider.
class LapicTimer final {
 public:
  enum class Mode : u8 { one_shot = 0, periodic = 1, tsc_deadline = 2, reserved = 3 };

  /// A periodic timer never asks to be woken more often than this: the missed periods collapse into
  /// one interrupt, and a guest cannot keep a host thread busy with a period of one tick.
  static constexpr Nanos min_period = 50'000;

  explicit LapicTimer(u64 hz) : hz_(hz) {}

  /// Power-up state: stopped, one-shot, divide by 2.
  void reset();
  /// A change of mode disarms the timer and clears both counts.
  void set_mode(Mode mode);
  /// Starts (count > 0) or stops (0) counting; ignored in TSC-deadline mode.
  void set_initial_count(u32 count, Nanos now);
  /// Divide configuration register, bits 3, 1 and 0. The count goes on from where it is.
  void set_divide(u32 value, Nanos now);
  /// IA32_TSC_DEADLINE: 0 disarms; ignored in the other modes. `when` is the same point in time.
  void set_tsc_deadline(u64 tsc, Nanos when);

  [[nodiscard]] Mode mode() const { return mode_; }
  [[nodiscard]] u32 initial_count() const { return initial_; }
  [[nodiscard]] u32 current_count(Nanos now) const;
  [[nodiscard]] u64 tsc_deadline() const { return tsc_; }
  /// When expire() is wanted next; `never` when stopped.
  [[nodiscard]] Nanos deadline() const;
  /// True if the interrupt is due at `now`; then a one-shot stops and a periodic timer goes on in
  /// phase.
  bool expire(Nanos now);

  /// Input ticks until the next expiry, for saving; 0 when overdue. Meaningful while running().
  [[nodiscard]] u64 remaining_ticks(Nanos now) const;
  [[nodiscard]] bool running() const { return running_; }
  /// Goes on after a load with `remaining` ticks of a period of `initial` counts.
  void resume(u32 initial, u64 remaining, Nanos now);

 private:
  [[nodiscard]] u64 period() const { return u64{initial_} * divide_; }
  [[nodiscard]] u64 elapsed(Nanos now) const {
    return now > origin_ ? ticks_from_nanos(now - origin_, hz_) : 0;
  }

  const u64 hz_;
  Mode mode_ = Mode::one_shot;
  u32 divide_ = 2;
  u32 initial_ = 0;
  bool running_ = false;
  Nanos origin_ = 0;  ///< when ticks were counted from
  u64 target_ = 0;    ///< ticks after origin_ of the next expiry; exact, so that no phase is lost
  u64 tsc_ = 0;
  Nanos tsc_when_ = never;
};

}  // namespace bhyve::intc
