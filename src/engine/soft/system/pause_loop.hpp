#pragma once
#include "base/types.hpp"

namespace bhyve::soft {

/// Tells when a vCPU spins: then its host CPU is better given to who else wants it, be it the vCPU that
/// holds the lock. What VMX calls PAUSE-loop exiting (SDM Vol. 3C 26.1.3: PLE_Gap and PLE_Window), with
/// longer times, as a host's change of threads costs microseconds. All times are host TSC ticks.
/// Belongs to one vCPU's thread.
class PauseLoop final {
 public:
  static constexpr u64 gap = u64{1} << 12;     ///< PAUSEs that far apart are not of one loop
  static constexpr u64 window = u64{1} << 16;  ///< a loop that runs for so long spins

  /// A PAUSE executes at `now`. True once a window of a loop.
  [[nodiscard]] bool has_spun(u64 now) {
    const bool goes_on = now - last_ <= gap;
    last_ = now;
    if (!goes_on) first_ = now;
    if (now - first_ <= window) return false;
    first_ = now;
    return true;
  }

 private:
  u64 first_ = 0, last_ = 0;
};

}  // namespace bhyve::soft
