#include <algorithm>
#include <shared_mutex>

#include "base/bits.hpp"
#include "mem/ram_access.hpp"
#include "mem/vmspace.hpp"
#include "mem/vmspace_impl.hpp"

namespace bhyve::mem {

FaultResult Vmspace::fault(Gpa gpa, Prot access) {
  return handle(gpa, access, false);
}

FaultResult Vmspace::resolve(Gpa gpa, Prot access) {
  return handle(gpa, access, true);
}

FaultResult Vmspace::handle(Gpa gpa, Prot access, bool may_wait) {
  const u64 page = gpa.page().value();
  const bool write = has(access, Prot::write);
  if (!has(access, Prot::exec) && pmap_->emulate_accessed_dirty(page, write))
    return FaultResult::resolved;
  const std::shared_lock guard(impl_->lock);
  const auto entry = impl_->map.find(gpa.value());
  if (!entry) return FaultResult::mmio;
  if (!has(entry->prot, access)) return FaultResult::denied;
  if (entry->ram() && pages_->tracked()) {
    const FaultResult result = pages_->fault(page, entry->prot, access, may_wait);
    if (result == FaultResult::resolved) try_promotion(page);
    return result;
  }
  pmap::Mapping mapping = mapping_of(*entry, page);
  mapping.accessed = true;
  mapping.modified = write;
  if (!pmap_->enter(page, mapping)) return FaultResult::error;
  if (options_.fault_around > 1) {
    // Host memory is allocated by touching it, not by this: the neighbours cost an entry each.
    // Those that are mapped with fewer rights stay so. Failing here is no failure of the fault.
    const u64 window = options_.fault_around << page_shift;
    const u64 first = std::max(align_down(page, window), entry->start);
    const u64 end = std::min(align_down(page, window) + window, entry->end);
    static_cast<void>(pmap_->fill(first, mapping_of(*entry, first), (end - first) >> page_shift));
  }
  if (prefaulter_ && entry->ram()) prefaulter_->faulted(page, entry->start, entry->end, entry->host(entry->start));
  try_promotion(page);
  return FaultResult::resolved;
}

void Vmspace::settle_prefault() {
  if (prefaulter_) prefaulter_->settle();
}

/// The last pages of a 2 MiB region are touched without a fault (fault-around), so the region that
/// faulted before gets its chance when another one faults.
void Vmspace::try_promotion(u64 gpa) {
  const u64 region = gpa / superpage_size;
  const u64 before = impl_->last_region.exchange(region, std::memory_order_relaxed);
  if (before != region) pmap_->promote(before * superpage_size);
}

Hold Vmspace::hold(Gpa gpa, u64 length, Prot access) {
  Hold hold;
  const u64 start = gpa.value();
  if (length == 0 || length > ~u64{0} - start) return hold;
  const u64 end = start + length;

  const std::shared_lock guard(impl_->lock);
  // Entries first, so that a refused hold of any length costs no more than the entries it meets.
  for (u64 at = start; at < end;) {
    const auto entry = impl_->map.find(at);
    if (!entry || !has(entry->prot, access)) return {};
    at = entry->end;
  }
  const bool write = has(access, Prot::write);
  const bool tracked = pages_->tracked();
  for (u64 at = start; at < end;) {
    const auto entry = impl_->map.find(at);
    const u64 stop = std::min(end, entry->end);
    if (tracked && entry->ram()) {
      if (!hold_ram(at, stop, write)) {
        release_ram(hold, false);
        return {};
      }
    } else if (write) {
      const u64 page = at & ~page_mask;
      const u64 pages = (align_up(stop, page_size) - page) >> page_shift;
      if (!pmap_->fill_dirty(page, mapping_of(*entry, page), pages)) {
        if (tracked) release_ram(hold, false);
        return {};
      }
    }
    hold.append({entry->host(at), stop - at});
    if (!entry->ram()) hold.segments_.push_back(entry->object);
    at = stop;
  }
  for (VmObject* segment : hold.segments_) segment->pin();
  impl_->holds.fetch_add(1, std::memory_order_relaxed);
  hold.space_ = this;
  hold.gpa_ = gpa;
  hold.length_ = length;
  hold.access_ = access;
  hold.tracked_ = tracked;
  return hold;
}

/// Brings the pages of RAM in [start, end) in and pins them; all or none.
bool Vmspace::hold_ram(u64 start, u64 end, bool write) {
  const u64 first = start >> page_shift, last = (end - 1) >> page_shift;
  for (u64 page = first; page <= last; ++page) {
    if (pages_->hold(page, write)) continue;
    while (page > first) pages_->release(--page, false);
    return false;
  }
  return true;
}

/// The pages of RAM are found by where the ranges lie: the map may have changed since.
void Vmspace::release_ram(const Hold& hold, bool written) {
  const VmObject& ram = *impl_->objects.front();
  const auto release = [&](const Hold::Range& r) {
    const u64 from = static_cast<u64>(r.data - ram.data());
    if (!r.data || r.data < ram.data() || from >= ram.size()) return;
    const u64 end = std::min<u64>(from + r.size, ram.size());
    for (u64 page = from >> page_shift; page <= (end - 1) >> page_shift; ++page)
      pages_->release(page, written);
  };
  if (hold.more_.empty())
    release(hold.first_);
  else
    for (const Hold::Range& r : hold.more_) release(r);
}

void Vmspace::release(Hold& hold) {
  if (has(hold.access_, Prot::write)) {
    // Again, for a dirty log that was read and cleared after the hold was taken.
    pmap_->mark_dirty(hold.gpa_.value(), hold.length_);
    const u64 last = (hold.gpa_ + (hold.length_ - 1)).page_number();
    for (u64 page = hold.gpa_.page_number(); page <= last; ++page) code_pages_->written(page);
  }
  if (hold.tracked_) release_ram(hold, has(hold.access_, Prot::write));
  for (VmObject* segment : hold.segments_) segment->unpin();
  impl_->holds.fetch_sub(1, std::memory_order_release);
}

bool Vmspace::read(Gpa gpa, std::span<u8> into) {
  if (into.empty()) return true;
  const Hold held = hold(gpa, into.size(), Prot::read);
  u8* to = into.data();
  for (const Hold::Range& r : held.ranges()) {
    ram_copy(to, r.data, r.size);
    to += r.size;
  }
  return static_cast<bool>(held);
}

bool Vmspace::write(Gpa gpa, std::span<const u8> from) {
  if (from.empty()) return true;
  const Hold held = hold(gpa, from.size(), Prot::write);
  const u8* at = from.data();
  for (const Hold::Range& r : held.ranges()) {
    ram_copy(r.data, at, r.size);
    at += r.size;
  }
  return static_cast<bool>(held);
}

}  // namespace bhyve::mem
