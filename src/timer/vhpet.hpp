#pragma once
#include <array>

#include "base/clock.hpp"
#include "base/state.hpp"
#include "base/types.hpp"

namespace bhyve::timer {

/// Where one comparator's interrupt goes.
struct HpetDelivery final {
  enum class Kind : u8 { none, legacy, pin, msi };
  Kind kind = Kind::none;
  bool level = false;   ///< only for legacy and pin
  unsigned pin = 0;     ///< I/O APIC input (Kind::pin)
  u32 address = 0, data = 0;  ///< the FSB message (Kind::msi)
};

/// The high precision event timer (IA-PC HPET specification 1.0a): a 64-bit main counter of 10 MHz
/// and 8 comparators, each periodic-capable, 64 bits wide, with FSB (MSI) delivery. Bus-free: see
/// vhpet_mmio.hpp. Not thread safe. `now` must not go backwards between calls.
class Vhpet final {
 public:
  static constexpr u64 hz = 10'000'000;
  static constexpr u32 period_femtoseconds = 100'000'000;
  static constexpr unsigned timers = 8;
  static constexpr u64 register_space = 0x400;

  /// The I/O APIC inputs that comparators may use: 24..31 of 32 inputs, the top four of 20..31,
  /// none of fewer.
  [[nodiscard]] static constexpr u32 allowed_routes(unsigned ioapic_pins) {
    if (ioapic_pins >= 32) return 0xff00'0000;
    return ioapic_pins >= 20 ? 0xfu << (ioapic_pins - 4) : 0;
  }

  explicit Vhpet(u32 routes) : routes_(routes) { reset(); }
  void reset();

  /// Low half of the capability register (vm_get_hpet_capabilities, the ACPI HPET table's id word).
  [[nodiscard]] static u32 capabilities();

  /// Registers. Any access inside one aligned 8-byte register reads its bytes, others give all
  /// ones; writes count only as aligned 4- or 8-byte ones. Call expire() before with the same `now`.
  [[nodiscard]] u64 read(u64 offset, unsigned size, Nanos now) const;
  void write(u64 offset, unsigned size, u64 value, Nanos now);

  /// Handles comparators that have matched up to `now`; returns the set of timers whose interrupt
  /// fires (bit n, each at most once: late periods of a periodic timer collapse into one).
  [[nodiscard]] u32 expire(Nanos now);
  /// When an interrupt can fire next, or `never`. At or before `now` means at once.
  [[nodiscard]] Nanos next_event() const;
  /// When `timer` matches next, and how long after that again: 0 when it is not periodic.
  [[nodiscard]] Nanos next_match(unsigned timer) const;
  [[nodiscard]] Nanos match_period(unsigned timer) const;

  [[nodiscard]] HpetDelivery delivery(unsigned timer) const;
  /// True while a level-triggered timer holds its line (status bit set, interrupts enabled).
  [[nodiscard]] bool line(unsigned timer) const;
  /// Legacy replacement route in force: timers 0 and 1 take IRQ 0 and IRQ 8 from the PIT and RTC.
  [[nodiscard]] bool legacy_route() const;

  void save(StateWriter& out, Nanos now) const;
  void load(StateSection& in, Nanos now);

 private:
  struct Timer {
    u64 config = 0;  ///< writable bits only
    u64 comparator = ~u64{0};
    u64 period = 0;
    u64 fsb = 0;
    /// Tick of the host's clock of the next match; `never` when the counter is halted or the match
    /// is out of reach. Follows from comparator and counter.
    u64 match = never;
  };

  [[nodiscard]] bool enabled() const;
  [[nodiscard]] u64 counter(u64 tick) const;
  [[nodiscard]] u64 read_register(u64 offset, u64 tick) const;
  void write_register(u64 offset, u64 value, u64 mask, u64 tick);
  void write_config(u64 value, u64 tick);
  void write_timer_config(Timer& timer, u64 value, u64 tick);
  void write_comparator(Timer& timer, u64 value, u64 mask, u64 tick);
  void aim(Timer& timer, u64 tick);
  void aim_all(u64 tick);
  void advance(Timer& timer, u64 tick);
  [[nodiscard]] u64 capability_bits() const;

  u32 routes_;
  u64 config_ = 0;
  u64 status_ = 0;
  u64 halted_count_ = 0;  ///< the counter while halted
  u64 base_ = 0;          ///< counter minus tick while it runs
  std::array<Timer, timers> timers_;
};

}  // namespace bhyve::timer
