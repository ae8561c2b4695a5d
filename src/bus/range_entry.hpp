#pragma once
#include <atomic>

#include "base/types.hpp"

namespace bhyve::bus {

/// One range of a RangeMap. Immutable but for `state`.
struct RangeEntry final {
  static constexpr u32 leaving = u32{1} << 31;  ///< a remover waits for the users
  static constexpr u32 orphan = u32{1} << 30;   ///< the remover is gone: the last user deletes
  static constexpr u32 users = orphan - 1;      ///< accesses in flight

  u64 first = 0;
  u64 last = 0;
  void* target = nullptr;
  std::atomic<u32> state{0};
};

/// One use of an entry by the current thread. The uses of a thread form a chain, by which a remover
/// finds its own: waiting for those would never end.
struct RangeUse final {
  explicit RangeUse(RangeEntry* e);
  RangeUse(const RangeUse&) = delete;
  RangeUse& operator=(const RangeUse&) = delete;
  ~RangeUse();

  RangeEntry* entry;
  RangeUse* outer = nullptr;
};

/// How often the current thread is inside `entry`.
[[nodiscard]] u32 own_uses(const RangeEntry& entry);

}  // namespace bhyve::bus
