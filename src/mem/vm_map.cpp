#include "mem/vm_map.hpp"

#include <algorithm>

namespace bhyve::mem {

void VmMap::add_ram(u64 start, u64 end, VmObject* object) {
  ram_.push_back({start, end, object});
}

bool VmMap::overlaps(u64 start, u64 end) const {
  const auto next = segments_.lower_bound(start);
  if (next != segments_.end() && next->first < end) return true;
  if (next == segments_.begin()) return false;
  const auto before = std::prev(next);
  return before->first + before->second.length > start;
}

bool VmMap::add_segment(u64 start, Segment segment) {
  if (overlaps(start, start + segment.length)) return false;
  segments_.emplace(start, std::move(segment));
  return true;
}

std::optional<VmMap::Segment> VmMap::remove_segment(u64 start) {
  const auto it = segments_.find(start);
  if (it == segments_.end()) return std::nullopt;
  Segment segment = std::move(it->second);
  segments_.erase(it);
  return segment;
}

const VmMap::Segment* VmMap::segment(u64 start) const {
  const auto it = segments_.find(start);
  return it == segments_.end() ? nullptr : &it->second;
}

bool VmMap::shows(const VmObject* object) const {
  return std::ranges::any_of(segments_,
                             [object](const auto& s) { return s.second.object == object; });
}

std::optional<VmMap::Entry> VmMap::find(u64 gpa) const {
  const auto above = segments_.upper_bound(gpa);
  u64 floor = 0;
  if (above != segments_.begin()) {
    const auto& [start, s] = *std::prev(above);
    floor = start + s.length;
    if (gpa < floor) return Entry{start, floor, s.prot, s.object, 0, s.name, s.uncacheable};
  }
  const u64 ceiling = above == segments_.end() ? ~u64{0} : above->first;
  for (const Ram& r : ram_) {
    if (gpa < r.start || gpa >= r.end) continue;
    const u64 start = std::max(r.start, floor);
    return Entry{start, std::min(r.end, ceiling), Prot::rwx, r.object, start, "sysmem"};
  }
  return std::nullopt;
}

std::vector<VmMap::Entry> VmMap::entries() const {
  std::vector<Entry> all;
  for (const auto& [start, s] : segments_)
    all.push_back({start, start + s.length, s.prot, s.object, 0, s.name, s.uncacheable});
  for (const Ram& r : ram_) {
    u64 at = r.start;
    while (at < r.end) {
      const std::optional<Entry> e = find(at);
      if (e->object == r.object) all.push_back(*e);
      at = e->end;
    }
  }
  std::ranges::sort(all, {}, &Entry::start);
  return all;
}

}  // namespace bhyve::mem
