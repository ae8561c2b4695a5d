#pragma once
#include <atomic>
#include <condition_variable>
#include <mutex>

#include "base/types.hpp"

namespace bhyve::soft {

/// Lets one vCPU run at a time, first come, first served: while each block is executed twice
/// (ExecutorCheck), nobody may see what is going to be taken back. Locks itself.
class Turns final {
 public:
  void take() {
    std::unique_lock lock(mutex_);
    const u64 mine = next_++;
    waiting_.store(next_ - turn_ - 1, std::memory_order_relaxed);
    changed_.wait(lock, [this, mine] { return turn_ == mine; });
  }
  void end() {
    const std::lock_guard lock(mutex_);
    ++turn_;
    waiting_.store(next_ == turn_ ? 0 : next_ - turn_ - 1, std::memory_order_relaxed);
    changed_.notify_all();
  }
  /// Somebody waits for who has the turn. Any thread.
  [[nodiscard]] bool wanted() const { return waiting_.load(std::memory_order_relaxed) != 0; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  u64 next_ = 0, turn_ = 0;
  std::atomic<u64> waiting_{0};
};

}  // namespace bhyve::soft
