#pragma once
#include <mutex>

#include "base/clock.hpp"
#include "base/state.hpp"
#include "bus/device.hpp"

namespace bhyve::timer {

/// The ACPI power management timer (ACPI 6.5 section 4.8.3.3): 32 bits, read-only, 3.579545 MHz.
/// Its carry interrupt is not offered (no TMR_STS in the PM1 block), so it costs nothing.
class Vpmtmr final {
 public:
  static constexpr u64 hz = 3'579'545;

  /// The counter is 0 at `now`.
  explicit Vpmtmr(Nanos now = 0) : zero_(ticks_from_nanos(now, hz)) {}

  [[nodiscard]] u32 read(Nanos now) const {
    return static_cast<u32>(ticks_from_nanos(now, hz) - zero_);
  }

  void save(StateWriter& out, Nanos now) const { out.put_u32(read(now)); }
  void load(StateSection& in, Nanos now) { zero_ = ticks_from_nanos(now, hz) - in.get_u32(); }

 private:
  u64 zero_;  ///< tick of the clock at which the counter was 0
};

/// Puts the timer on four I/O ports (408h). Narrow reads give the addressed bytes; writes are lost.
class VpmtmrPio final : public bus::Pio, public bus::Lifecycle, public bus::Persist {
 public:
  VpmtmrPio() : chip_(monotonic_now()) {}

  u32 pio_read(u16 offset, unsigned size) override;
  void pio_write(u16, unsigned, u32) override {}
  void reset() override;
  void save(StateWriter& out) const override;
  [[nodiscard]] Result<void> load(const StateReader& in) override;

 private:
  mutable std::mutex lock_;  ///< guards chip_
  Vpmtmr chip_;
};

}  // namespace bhyve::timer
