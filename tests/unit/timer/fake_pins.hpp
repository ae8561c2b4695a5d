#pragma once
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "intc/pins.hpp"

namespace bhyve::timer {

/// Remembers the level and counts rising edges; a test thread can wait for them.
class FakePin final : public intc::IrqPin {
 public:
  void set_level(bool asserted) override {
    const std::lock_guard lock(mutex_);
    if (asserted && !level_) ++edges_;
    level_ = asserted;
    changed_.notify_all();
  }
  bool level() {
    const std::lock_guard lock(mutex_);
    return level_;
  }
  unsigned edges() {
    const std::lock_guard lock(mutex_);
    return edges_;
  }
  bool wait_for_edges(unsigned count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return edges_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool level_ = false;
  unsigned edges_ = 0;
};

}  // namespace bhyve::timer
