#pragma once
#include <array>

#include "base/clock.hpp"
#include "base/state.hpp"
#include "base/types.hpp"

namespace bhyve::timer {

/// One counter of the 8254 (Intel 82C54 data sheet, "Mode Definitions"). Its clock is the number of
/// periods of 1193182 Hz since the origin of the host's clock, so nothing drifts: every edge is
/// computed from the tick at which the count was loaded.
class VatpitChannel final {
 public:
  /// Control word, bits 5..4.
  enum class Access : u8 { latch = 0, low = 1, high = 2, word = 3 };

  void set_control(Access access, u8 mode, bool bcd);
  void write(u8 value, u64 tick);
  u8 read(u64 tick);
  void latch_count(u64 tick);
  void latch_status(u64 tick);
  void set_gate(bool high, u64 tick);

  [[nodiscard]] bool output(u64 tick) const;
  /// The first tick after `tick` at which the output rises, or `never`.
  [[nodiscard]] u64 next_rise(u64 tick) const;
  /// Ticks from rise to rise in modes 2 and 3, 0 in others.
  [[nodiscard]] u64 period(u64 tick) const;

  void save(StateWriter& out, u64 tick) const;
  void load(StateSection& in, u64 tick);

 private:
  /// What the counting element does. `stopped`: no count since the control word, no trigger yet, or
  /// (modes 2 and 3) gate low. `frozen`: modes 0 and 4 with gate low; goes on from where it was.
  enum class Phase : u8 { stopped, counting, frozen };

  [[nodiscard]] u64 modulus() const { return bcd_ ? 10'000 : 0x1'0000; }
  [[nodiscard]] u64 decode(u16 raw) const;
  [[nodiscard]] u16 encode(u64 count) const;
  [[nodiscard]] u64 elapsed(u64 tick) const;
  [[nodiscard]] u16 count(u64 tick) const;
  void load_count(u16 raw, u64 tick);
  void settle(u64 tick);
  [[nodiscard]] bool settled_output(u64 tick) const;
  [[nodiscard]] u64 settled_next_rise(u64 tick) const;
  [[nodiscard]] bool periodic() const { return mode_ == 2 || mode_ == 3; }
  [[nodiscard]] bool triggered() const { return mode_ == 1 || mode_ == 5; }

  Access access_ = Access::word;
  u8 mode_ = 0;
  bool bcd_ = false;
  bool gate_ = true;
  Phase phase_ = Phase::stopped;
  u64 start_ = 0;        ///< tick of the load while counting
  u64 frozen_at_ = 0;    ///< ticks done while frozen
  u64 initial_ = 65536;  ///< count in effect, 1 .. modulus
  u64 next_ = 0;         ///< count register not yet in effect (null count), 0 = none
  u64 next_tick_ = 0;    ///< when it comes into effect (modes 2 and 3)
  bool null_ = true;     ///< status bit 6
  bool write_high_ = false, read_high_ = false;  ///< flip-flops of word access
  u8 write_low_ = 0;
  bool count_latched_ = false, status_latched_ = false;
  u16 latched_count_ = 0;
  u8 latched_status_ = 0;
};

/// Intel 8254 programmable interval timer and the PC's port 61h. Bus-free: see vatpit_pio.hpp.
/// Not thread safe. `now` must not go backwards between calls.
class Vatpit final {
 public:
  static constexpr u64 hz = 1'193'182;
  static constexpr unsigned channels = 3;

  /// Power-on state: no channel counts until it is programmed, outputs and gate 2 are low.
  Vatpit();

  /// Ports 40h..42h (counters, 0..2) and 43h (control word, 3; reads give FFh).
  [[nodiscard]] u8 read(unsigned port, Nanos now);
  void write(unsigned port, u8 value, Nanos now);
  /// Port 61h: bit 0 gate 2, bit 1 speaker, bits 2-3 stored, bit 4 refresh toggle, bit 5 output 2.
  [[nodiscard]] u8 read_speaker(Nanos now) const;
  void write_speaker(u8 value, Nanos now);

  [[nodiscard]] bool output(unsigned channel, Nanos now) const;
  /// When the output of channel 0 rises next, strictly after `now`, or `never`. Edges that lie
  /// between two calls are not told.
  [[nodiscard]] Nanos next_edge(Nanos now) const;
  /// From one such edge to the next in the periodic modes, 0 in others.
  [[nodiscard]] Nanos edge_period(Nanos now) const;

  void save(StateWriter& out, Nanos now) const;
  void load(StateSection& in, Nanos now);

 private:
  void read_back(u8 value, u64 tick);

  std::array<VatpitChannel, channels> channels_;
  u8 speaker_ = 0;  ///< bits 0..3 of port 61h
};

}  // namespace bhyve::timer
