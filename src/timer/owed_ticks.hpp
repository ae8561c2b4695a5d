#pragma once
#include <atomic>

#include "base/clock.hpp"

namespace bhyve::timer {

/// Ticks of a periodic timer that its edge-triggered interrupt has swallowed, because the thread that
/// makes them or the vCPU that takes them waited for its turn on a busy host. On a board none gets lost:
/// its CPU takes each before the next is due. Guests that count ticks rely on it (Linux takes a timer
/// that is short of some for a broken board), so lost ones follow when the guest has taken the one
/// before. Thread safety: outstanding() from any thread, the rest locked by the owner.
class OwedTicks final {
 public:
  /// A guest that has taken none for so many periods has them masked or was stopped: then nothing is
  /// owed. Nor are ticks made up for that come faster than a late guest could take them.
  static constexpr unsigned most = 128;
  static constexpr Nanos shortest_period = 250'000;

  /// The tick due at `due` is about to be delivered, `now`: it swallows those after it, and is swallowed
  /// itself when the one before has not been taken.
  void deliver(Nanos due, Nanos period, Nanos now) {
    if (period < shortest_period) return forget();
    const Nanos late = now > due ? (now - due) / period : 0;
    const Nanos owed = owed_ + late + (outstanding() ? 1 : 0);
    outstanding_.store(true);
    given_up_ = given_up_ || owed > most;
    owed_ = given_up_ ? 0 : static_cast<unsigned>(owed);
  }
  /// The guest has taken the tick. True: the next one is delivered now.
  [[nodiscard]] bool take() {
    const bool more = owed_ != 0;
    if (more) --owed_;
    given_up_ = false;
    outstanding_.store(more);
    return more;
  }
  void forget() {
    owed_ = 0;
    given_up_ = false;
    outstanding_.store(false);
  }
  /// A tick was delivered and not taken.
  [[nodiscard]] bool outstanding() const { return outstanding_.load(std::memory_order_relaxed); }

 private:
  unsigned owed_ = 0;
  bool given_up_ = false;
  std::atomic<bool> outstanding_{false};
};

}  // namespace bhyve::timer
