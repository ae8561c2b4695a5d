#include "vmm/io_trace.hpp"

#include <algorithm>

namespace bhyve::vmm {

void IoTrace::keep(Access access) {
  access.time = monotonic_now();
  const std::lock_guard lock(mutex_);
  if (ring_.empty()) return;  // stopped meanwhile
  access.sequence = next_;
  ring_[next_ % capacity] = access;
  ++next_;
  if (next_ - asked_at_ < 2 * capacity) return;
  on_.store(false, std::memory_order_relaxed);
  ring_ = {};
}

std::vector<IoTrace::Access> IoTrace::take(u64 from, usize most, u64& next) {
  const std::lock_guard lock(mutex_);
  if (ring_.empty()) ring_.resize(capacity), kept_from_ = next_;
  on_.store(true, std::memory_order_relaxed);
  asked_at_ = next_;
  const u64 oldest = std::max(kept_from_, next_ < capacity ? 0 : next_ - capacity);
  std::vector<Access> out;
  for (next = std::clamp(from, oldest, next_); next != next_ && out.size() < most; ++next)
    out.push_back(ring_[next % capacity]);
  return out;
}

void IoTrace::stop() {
  const std::lock_guard lock(mutex_);
  on_.store(false, std::memory_order_relaxed);
  ring_ = {};
}

}  // namespace bhyve::vmm
