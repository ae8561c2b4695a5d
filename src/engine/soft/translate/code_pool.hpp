#pragma once
#include <atomic>

#include "base/address.hpp"
#include "base/types.hpp"

namespace bhyve::soft {

/// How much memory for translated code the vCPUs of a VM have together, in regions of one size. Each has
/// one for good, and takes more while there are any: one busy vCPU may have nearly all. Who has less than
/// a fair share and finds none asks for them; whoever has more than that gives them back when it comes by.
/// Any thread.
class CodePool final {
 public:
  CodePool(usize bytes, usize vcpus)
      : share_(share_of(bytes / vcpus, vcpus)),
        region_bytes_(bytes / vcpus / share_ & ~page_mask),
        regions_(share_ * vcpus),
        free_(regions_ - vcpus) {}

  [[nodiscard]] usize region_bytes() const { return region_bytes_; }
  [[nodiscard]] usize regions() const { return regions_; }
  /// Regions that a vCPU may insist on.
  [[nodiscard]] usize share() const { return share_; }

  /// One more for a vCPU that has `held`. False: there is none, or it has its share and another, that has
  /// less, comes first. (It may have gone to sleep: so that holds once.)
  [[nodiscard]] bool take(usize held) {
    if (held >= share_ && wanted_.exchange(false, std::memory_order_relaxed)) return false;
    usize free = free_.load(std::memory_order_relaxed);
    while (free)
      if (free_.compare_exchange_weak(free, free - 1, std::memory_order_relaxed)) return true;
    if (held < share_) wanted_.store(true, std::memory_order_relaxed);
    return false;
  }
  void give_back(usize count) {
    free_.fetch_add(count, std::memory_order_relaxed);
  }
  /// Whether a vCPU that has `held` is to give some back.
  [[nodiscard]] bool wanted(usize held) const {
    return held > share_ && wanted_.load(std::memory_order_relaxed);
  }

 private:
  /// Small enough that little is lost with a region, large enough that there is something in it.
  static usize share_of(usize bytes_each, usize vcpus) {
    constexpr usize least_bytes = 768 << 10, most = 16, least_of_many = 4;
    const usize fits = bytes_each / least_bytes, wish = vcpus * least_of_many < most ? most / vcpus : least_of_many;
    return fits == 0 ? 1 : fits < wish ? fits : wish;
  }
  const usize share_, region_bytes_, regions_;
  std::atomic<usize> free_;
  std::atomic<bool> wanted_{false};
};

}  // namespace bhyve::soft
