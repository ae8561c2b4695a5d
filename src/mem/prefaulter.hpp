#pragma once
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <thread>

#include "base/types.hpp"
#include "mem/fault_streams.hpp"

namespace bhyve::mem {

/// Has the host allocate guest memory before the guest touches it, where faults show that it will
/// (FaultStreams): a thread takes the host's page faults, some 2 us each, instead of the vCPU. A guest
/// takes at most one and a half FaultStreams::lead more for each stream that ends than it uses.
/// Thread safety: all members from any thread.
class Prefaulter final {
 public:
  /// `window`: see FaultStreams. `confined`: the thread gives up the system calls that it does not need.
  Prefaulter(u64 window, bool confined);
  ~Prefaulter();
  Prefaulter(const Prefaulter&) = delete;
  Prefaulter& operator=(const Prefaulter&) = delete;

  /// A fault mapped the window at `gpa` of memory that reaches from `start` to `end`, with its first byte at
  /// `host`, and stays mapped while this lives. Never waits for the host.
  void faulted(u64 gpa, u64 start, u64 end, std::byte* host);
  /// Waits until what was asked for is there.
  void settle();

 private:
  struct Piece {
    std::byte* data;
    u64 bytes;
  };
  static constexpr usize pieces_most = 16;

  void work();
  void populate(std::unique_lock<std::mutex>& guard, const Piece& piece);

  const u64 window_;
  std::mutex mutex_;
  std::condition_variable wanted_, settled_;
  // Under mutex_:
  FaultStreams streams_;
  std::deque<Piece> pieces_;
  bool stop_ = false, busy_ = false;
  bool refused_ = false;  ///< the host cannot, or has no memory: it is left to the guest's own accesses
  std::thread thread_;
};

}  // namespace bhyve::mem
