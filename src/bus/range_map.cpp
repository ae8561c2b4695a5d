#include "bus/range_map.hpp"

#include <algorithm>

#include "bus/device.hpp"
#include "bus/pci_function.hpp"

namespace bhyve::bus {

namespace {

// initial-exec: see Vcpu::current().
[[gnu::tls_model("initial-exec")]] thread_local RangeUse* innermost_use = nullptr;

}  // namespace

RangeUse::RangeUse(RangeEntry* e) : entry(e) {
  if (entry == nullptr) return;
  outer = innermost_use;
  innermost_use = this;
}

RangeUse::~RangeUse() {
  if (entry != nullptr) innermost_use = outer;
}

u32 own_uses(const RangeEntry& entry) {
  u32 n = 0;
  for (const RangeUse* use = innermost_use; use != nullptr; use = use->outer)
    n += use->entry == &entry ? 1 : 0;
  return n;
}

template <class Target>
Result<void> RangeMap<Target>::add(u64 first, u64 last, Target& target) {
  if (last < first) return fail(EINVAL, "range {:#x}..{:#x} ends before it starts", first, last);
  const std::unique_lock lock(mutex_);
  const auto next = std::find_if(entries_.begin(), entries_.end(),
                                 [&](const auto& e) { return e->last >= first; });
  if (next != entries_.end() && (*next)->first <= last) {
    return fail(EEXIST, "range {:#x}..{:#x} overlaps {:#x}..{:#x}", first, last, (*next)->first,
                (*next)->last);
  }
  auto entry = std::make_unique<RangeEntry>();
  entry->first = first;
  entry->last = last;
  entry->target = &target;
  entries_.insert(next, std::move(entry));
  return {};
}

template <class Target>
bool RangeMap<Target>::remove(u64 first) {
  std::unique_ptr<RangeEntry> entry;
  {
    const std::unique_lock lock(mutex_);
    const auto it = std::find_if(entries_.begin(), entries_.end(),
                                 [&](const auto& e) { return e->first == first; });
    if (it == entries_.end()) return false;
    entry = std::move(*it);
    entries_.erase(it);
  }
  // From here on nobody can find the entry: its users only get fewer.
  const u32 own = own_uses(*entry);
  entry->state.fetch_or(RangeEntry::leaving, std::memory_order_acq_rel);
  std::unique_lock lock(drain_mutex_);
  drained_.wait(lock, [&] {
    return (entry->state.load(std::memory_order_acquire) & RangeEntry::users) == own;
  });
  if (own != 0) {
    entry->state.fetch_or(RangeEntry::orphan, std::memory_order_relaxed);
    static_cast<void>(entry.release());  // deleted by unpin() of this thread's outermost use
  }
  return true;
}

template <class Target>
RangeEntry* RangeMap<Target>::find_entry(u64 first, u64 last) {
  const std::shared_lock lock(mutex_);
  const auto it = std::partition_point(entries_.begin(), entries_.end(),
                                       [&](const auto& e) { return e->last < first; });
  if (it == entries_.end() || (*it)->first > first || (*it)->last < last) return nullptr;
  (*it)->state.fetch_add(1, std::memory_order_relaxed);
  return it->get();
}

template <class Target>
void RangeMap<Target>::unpin(const RangeUse& use) {
  std::atomic<u32>& state = use.entry->state;
  u32 seen = state.load(std::memory_order_relaxed);
  while ((seen & RangeEntry::leaving) == 0) {
    if (state.compare_exchange_weak(seen, seen - 1, std::memory_order_release,
                                    std::memory_order_relaxed))
      return;
  }
  // Under the lock, so that the remover (and whoever destroys the map next) goes on only after this
  // thread has left both the entry and the map.
  const std::lock_guard lock(drain_mutex_);
  seen = state.fetch_sub(1, std::memory_order_acq_rel);
  if ((seen & RangeEntry::orphan) == 0)
    drained_.notify_all();
  else if ((seen & RangeEntry::users) == 1)
    delete use.entry;
}

template class RangeMap<Pio>;
template class RangeMap<Mmio>;
template class RangeMap<PciFunction>;

}  // namespace bhyve::bus
