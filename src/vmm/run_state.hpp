#pragma once
#include <atomic>

#include "base/types.hpp"

namespace bhyve::vmm {

/// What a vCPU is doing (facts: bhyve's vcpu states).
enum class RunState : u32 {
  idle,      ///< nobody works on it
  frozen,    ///< one thread owns it: in run() outside of guest execution, or a controller
  running,   ///< executes the guest
  sleeping,  ///< its thread waits for an event inside run()
};

/// The legal transitions: idle -> frozen -> idle, running or sleeping -> frozen.
[[nodiscard]] constexpr bool is_legal(RunState from, RunState to) {
  return (from == RunState::frozen) != (to == RunState::frozen);
}

/// The state word of a vCPU. Every change and `observe()` is a locked operation, so that a flag
/// written before observe() is seen by a vCPU that changed its state too late to be observed.
class RunStateWord final {
 public:
  /// Changes `from` to `to`; false when the state is another one (bhyve: EBUSY).
  [[nodiscard]] bool try_change(RunState from, RunState to) {
    return word_.compare_exchange_strong(from, to);
  }
  /// A change that only the owner makes and that cannot fail.
  void change(RunState to) { word_.exchange(to); }
  [[nodiscard]] RunState get() const { return word_.load(); }
  /// get() ordered after every earlier store of the caller.
  [[nodiscard]] RunState observe() {
    RunState seen = word_.load(std::memory_order_relaxed);
    while (!word_.compare_exchange_weak(seen, seen)) {
    }
    return seen;
  }

 private:
  std::atomic<RunState> word_{RunState::idle};
};

}  // namespace bhyve::vmm
