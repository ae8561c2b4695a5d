#include "mem/prefaulter.hpp"

#include <sys/mman.h>

#include <algorithm>

#include "base/bits.hpp"
#include "base/confinement.hpp"
#include "base/thread.hpp"

namespace bhyve::mem {

Prefaulter::Prefaulter(u64 window, bool confined) : window_(window), streams_(window) {
  thread_ = std::thread([this, confined] {
    block_async_signals();
    name_this_thread("prefault");
    const auto ok = confined ? confine_this_thread(Confinement::worker) : Result<void>();
    if (ok) return work();
    const std::scoped_lock guard(mutex_);
    refused_ = true;
    settled_.notify_all();
  });
}

Prefaulter::~Prefaulter() {
  {
    const std::scoped_lock guard(mutex_);
    stop_ = true;
  }
  wanted_.notify_all();
  thread_.join();
}

void Prefaulter::faulted(u64 gpa, u64 start, u64 end, std::byte* host) {
  const std::scoped_lock guard(mutex_);
  if (refused_) return;
  FaultStreams::Range next = streams_.faulted(align_down(gpa, window_));
  next = {std::max(next.first, start), std::min(next.end, end)};
  if (next.empty() || pieces_.size() == pieces_most) return;
  pieces_.push_back({host + (next.first - start), next.end - next.first});
  wanted_.notify_one();
}

void Prefaulter::settle() {
  std::unique_lock guard(mutex_);
  settled_.wait(guard, [this] { return refused_ || (pieces_.empty() && !busy_); });
}

void Prefaulter::work() {
  std::unique_lock guard(mutex_);
  for (;;) {
    wanted_.wait(guard, [this] { return stop_ || !pieces_.empty(); });
    if (stop_) return;
    const Piece piece = pieces_.front();
    pieces_.pop_front();
    busy_ = true;
    populate(guard, piece);
    busy_ = false;
    if (refused_) pieces_.clear();
    if (pieces_.empty()) settled_.notify_all();
  }
}

/// Step by step, for others want the host's lock of the address space, too.
void Prefaulter::populate(std::unique_lock<std::mutex>& guard, const Piece& piece) {
  constexpr u64 step = 64 * KiB;
  for (u64 at = 0; at < piece.bytes && !stop_ && !refused_; at += step) {
    guard.unlock();
    const bool done = ::madvise(piece.data + at, std::min(step, piece.bytes - at), MADV_POPULATE_WRITE) == 0;
    guard.lock();
    refused_ = !done;
  }
}

}  // namespace bhyve::mem
