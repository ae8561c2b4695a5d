#pragma once
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>

#include "host/char_backend.hpp"

namespace bhyve::host::test {

/// Takes `room` bytes at most until more room is made.
class Client final : public CharClient {
 public:
  explicit Client(usize room = ~usize{0}) : room_(room) {}
  usize can_receive() override {
    const std::lock_guard lock(mutex_);
    return room_;
  }
  void receive(std::span<const u8> bytes) override {
    const std::lock_guard lock(mutex_);
    ASSERT_LE(bytes.size(), room_);
    room_ -= bytes.size();
    got_.append(bytes.begin(), bytes.end());
    changed_.notify_all();
  }
  void writable() override {
    const std::lock_guard lock(mutex_);
    writable_ = true;
    changed_.notify_all();
  }
  void make_room(usize n) {
    const std::lock_guard lock(mutex_);
    room_ += n;
  }
  std::string wait_for(usize n) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(20), [&] { return got_.size() >= n; });
    return got_;
  }
  bool wait_writable() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return writable_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  usize room_;
  std::string got_;
  bool writable_ = false;
};

inline std::span<const u8> bytes(const std::string& s) {
  return {reinterpret_cast<const u8*>(s.data()), s.size()};
}

}  // namespace bhyve::host::test
