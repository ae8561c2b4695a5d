#pragma once
#include <array>
#include <optional>

#include "base/clock.hpp"
#include "base/state.hpp"
#include "base/types.hpp"
#include "timer/vrtc_calendar.hpp"

namespace bhyve::timer {

/// The PC's real-time clock and CMOS memory (Motorola MC146818A data sheet). Time is the second
/// that was set plus what has passed of `now`; nothing runs. The day of the week follows from the date.
/// Bus-free: see vrtc_pio.hpp. Not thread safe. `now` must not go backwards between calls.
class Vrtc final {
 public:
  static constexpr unsigned bank_size = 128;

  /// Shows `seconds` since 1970-01-01 of the calendar that the guest expects (UTC or local time);
  /// 24 hours, BCD, no interrupts enabled.
  Vrtc(i64 seconds, Nanos now);

  /// Hardware reset (data sheet, RESET pin): interrupts off, time and memory stay.
  void reset(Nanos now);

  /// Ports 70h/71h (0, 1: index and data) and 72h/73h (2, 3: 128 bytes of plain memory more).
  /// Index ports read FFh.
  [[nodiscard]] u8 read(unsigned port, Nanos now);
  void write(unsigned port, u8 value, Nanos now);

  [[nodiscard]] i64 time(Nanos now) const;
  void set_time(i64 seconds, Nanos now);

  /// CMOS memory for machine and bhyvectl: offsets 0Eh to 7Fh but the century byte (32h). False for
  /// others.
  [[nodiscard]] bool set_nvram(unsigned offset, u8 value);
  [[nodiscard]] std::optional<u8> nvram(unsigned offset) const;

  /// Level of the interrupt output (register C, IRQF) after everything up to `now` has happened.
  [[nodiscard]] bool irq(Nanos now);
  /// When the output can rise next, or `never`: it is high already (register C was not read), or no
  /// interrupt is enabled.
  [[nodiscard]] Nanos next_event(Nanos now) const;

  void save(StateWriter& out, Nanos now) const;
  void load(StateSection& in, Nanos now);

 private:
  [[nodiscard]] bool ticking() const;
  [[nodiscard]] u64 whole_seconds(Nanos now) const;
  [[nodiscard]] unsigned periodic_hz() const;
  [[nodiscard]] std::optional<i64> next_alarm(i64 after) const;
  [[nodiscard]] std::optional<unsigned> alarm_field(unsigned reg, bool& any) const;
  [[nodiscard]] bool update_in_progress(Nanos now) const;
  [[nodiscard]] bool irq_flag() const;

  void settle(Nanos now);
  void show(i64 seconds);
  void adopt_registers(Nanos now);
  void write_register(unsigned reg, u8 value, Nanos now);
  void write_control(unsigned reg, u8 value, Nanos now);
  [[nodiscard]] u8 read_register(unsigned reg, Nanos now);

  [[nodiscard]] u8 encode(unsigned value) const;
  [[nodiscard]] u8 encode_hour(unsigned hour) const;
  [[nodiscard]] std::optional<unsigned> decode(u8 raw) const;
  [[nodiscard]] std::optional<unsigned> decode_hour(u8 raw) const;

  /// Registers 0-9 and the century hold the time while the clock is stopped or was set to nonsense;
  /// else they are computed when read.
  std::array<u8, bank_size> memory_{};
  std::array<u8, bank_size> upper_{};
  u8 index_ = 0, upper_index_ = 0;
  bool valid_ = true;    ///< the registers held a real time when they were last set
  i64 base_seconds_;     ///< time at base_, a second's beginning
  Nanos base_;           ///< also the divider's phase: periodic ticks count from here
  Nanos settled_;        ///< interrupt flags are right up to this point
};

}  // namespace bhyve::timer
