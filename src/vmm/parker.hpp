#pragma once
#include <atomic>

#include "base/clock.hpp"
#include "base/types.hpp"

namespace bhyve::vmm {

/// Blocks one thread until it is woken or a deadline passes. A wake that comes first is remembered,
/// so that the sleeper's pattern "look for work, then park" loses none.
class Parker final {
 public:
  /// Returns when wake() was called since the last park(), at `deadline` (CLOCK_MONOTONIC; `never`
  /// waits for ever), or now and then for no reason. One thread only.
  void park(Nanos deadline);
  /// Any thread, async-signal-safe; a system call only when the thread really blocks.
  void wake() noexcept;

 private:
  enum : u32 { empty, notified, parked };
  std::atomic<u32> word_{empty};
};

}  // namespace bhyve::vmm
