#pragma once
#include <chrono>
#include <functional>
#include <thread>

#include "base/types.hpp"
#include "pmap/pmap.hpp"

namespace bhyve::mem {

/// Waits until no vCPU uses translations from before a generation of the pmap. Whoever waits holds
/// no lock that a vCPU needs, and is no vCPU that executes the guest.
class VcpuBarrier final {
 public:
  /// `passed(generation)`: no vCPU executes the guest with older translations. Set before vCPUs run;
  /// without it there are none.
  using Passed = std::function<bool(u64 generation)>;
  void set(Passed passed) { passed_ = std::move(passed); }

  /// Waits for the pmap's generation of now. False: gave up after `limit`.
  bool wait(const pmap::Pmap& pmap, std::chrono::milliseconds limit = no_limit) const {
    if (!passed_) return true;
    const u64 generation = pmap.generation();
    const auto start = std::chrono::steady_clock::now();
    for (unsigned spins = 0; !passed_(generation); ++spins) {
      if (spins < spins_before_sleep) {
        std::this_thread::yield();
        continue;
      }
      if (limit != no_limit && std::chrono::steady_clock::now() - start > limit) return false;
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    return true;
  }
  static constexpr std::chrono::milliseconds no_limit{0};

 private:
  static constexpr unsigned spins_before_sleep = 50;
  Passed passed_;
};

}  // namespace bhyve::mem
