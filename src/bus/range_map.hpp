#pragma once
#include <condition_variable>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "base/error.hpp"
#include "base/types.hpp"
#include "bus/range_entry.hpp"

namespace bhyve::bus {

/// Disjoint ranges of numbers (ports, addresses, PCI functions), each with a target. Ranges come and
/// go while other threads look them up. A lookup takes a reader lock only for the search and then
/// pins the one entry it found, so that a target may itself change the map (a configuration write
/// moves a BAR) and removal waits for nobody but the users of the removed entry.
/// Thread safety: every member, from any thread. remove() must not be called with a lock held that
/// the target takes; a target may remove its own range (its current access is not waited for).
template <class Target>
class RangeMap final {
 public:
  /// Keeps the entry it found in use until destruction; tests false when nothing was found. Lives on
  /// the stack of one thread.
  class Pin final {
   public:
    Pin(RangeMap& map, RangeEntry* entry) : map_(map), use_(entry) {}
    ~Pin() {
      if (use_.entry != nullptr) map_.unpin(use_);
    }
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;
    explicit operator bool() const { return use_.entry != nullptr; }
    [[nodiscard]] u64 first() const { return use_.entry->first; }
    [[nodiscard]] Target& target() const { return *static_cast<Target*>(use_.entry->target); }

   private:
    RangeMap& map_;
    RangeUse use_;
  };

  RangeMap() = default;
  RangeMap(const RangeMap&) = delete;
  RangeMap& operator=(const RangeMap&) = delete;

  /// Adds [first, last], both inclusive. Fails with EEXIST when it meets another range and with
  /// EINVAL when last < first.
  [[nodiscard]] Result<void> add(u64 first, u64 last, Target& target);
  /// Removes the range that starts at `first` and returns when no other thread uses it any more.
  /// False: there is none.
  bool remove(u64 first);
  /// The range that holds all of [first, last].
  [[nodiscard]] Pin find(u64 first, u64 last) { return Pin(*this, find_entry(first, last)); }

 private:
  RangeEntry* find_entry(u64 first, u64 last);
  void unpin(const RangeUse& use);

  std::shared_mutex mutex_;                           ///< guards entries_
  std::vector<std::unique_ptr<RangeEntry>> entries_;  ///< sorted by first, disjoint
  std::mutex drain_mutex_;                            ///< with drained_: the last user has left
  std::condition_variable drained_;
};

}  // namespace bhyve::bus
