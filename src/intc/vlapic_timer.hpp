#pragma once
#include <atomic>

#include "base/callout.hpp"
#include "bus/device.hpp"
#include "intc/vlapic.hpp"

namespace bhyve::intc {

/// Drives a local APIC's timer by a callout that is bound to its vCPU, and gives the local APIC its
/// life as a device. Reads CLOCK_MONOTONIC. Any thread; pause() and the destructor must not be
/// called from a callout.
class VlapicTimer final : public bus::Lifecycle, public bus::Persist, private LapicTimerSink {
 public:
  /// The timer runs from start() on.
  VlapicTimer(Vlapic& lapic, CalloutWheel& wheel);
  ~VlapicTimer() override;
  VlapicTimer(const VlapicTimer&) = delete;
  VlapicTimer& operator=(const VlapicTimer&) = delete;

  void start() override;
  void pause() override;
  void reset() override { lapic_.reset(Vlapic::Reset::power_up); }
  void save(StateWriter& out) const override { lapic_.save(out, monotonic_now()); }
  [[nodiscard]] Result<void> load(const StateReader& in) override {
    return lapic_.load(in, monotonic_now());
  }

 private:
  void timer_changed() override;
  [[nodiscard]] Nanos wanted() const;

  Vlapic& lapic_;
  std::atomic<bool> running_{false};
  Callout callout_;
};

}  // namespace bhyve::intc
