#include "mem/vmspace.hpp"

#include <algorithm>
#include <bit>
#include <mutex>
#include <new>

#include "base/bits.hpp"
#include "base/log.hpp"
#include "mem/vmspace_impl.hpp"

namespace bhyve::mem {
namespace {

/// Guest-physical addresses have as many bits as EPT walks.
constexpr u64 gpa_limit = u64{1} << pmap::va_bits;
constexpr u64 high_base = 4 * GiB;

Result<void> check(const Vmspace::Options& o) {
  if (o.lowmem == 0 || o.lowmem > high_base || o.lowmem % page_size)
    return fail(EINVAL, "low memory of {} bytes: expected whole pages, at most 4 GiB", o.lowmem);
  if (o.highmem % page_size || o.highmem > (u64{1} << pmap::FrameArena::bank_shift) - high_base)
    return fail(EINVAL, "high memory of {} bytes: expected whole pages, below 16 TiB", o.highmem);
  if (!std::has_single_bit(o.fault_around) || o.fault_around > 512)
    return fail(EINVAL, "fault-around of {} pages: expected a power of two up to 512",
                o.fault_around);
  return {};
}

Result<void> check_range(Gpa gpa, u64 length) {
  if (length == 0 || gpa.page_offset() || length % page_size || length > gpa_limit ||
      gpa.value() > gpa_limit - length)
    return fail(EINVAL, "segment at {:#x} of {} bytes: expected whole pages below 2^48",
                gpa.value(), length);
  return {};
}

}  // namespace

Vmspace::Vmspace(const Options& options) : options_(options), impl_(std::make_unique<Impl>()) {}

Result<std::unique_ptr<Vmspace>> Vmspace::create(const Options& options) {
  if (auto ok = check(options); !ok) return tl::make_unexpected(ok.error());
  std::unique_ptr<Vmspace> space(new Vmspace(options));
  try {
    if (auto ok = space->init(); !ok) return tl::make_unexpected(ok.error());
  } catch (const std::bad_alloc&) {
    return fail(ENOMEM, "guest memory: no address space for its tables");
  }
  return space;
}

Result<void> Vmspace::init() {
  const u64 size = options_.highmem ? high_base + options_.highmem : options_.lowmem;
  auto ram = VmObject::create("guest-ram", pmap::FrameArena::ram_bank, size, !options_.resident);
  if (!ram) return tl::make_unexpected(ram.error());
  VmObject* object = ram->get();
  impl_->objects.push_back(std::move(*ram));
  arena_.set_bank(pmap::FrameArena::ram_bank, object->data());
  impl_->map.add_ram(0, options_.lowmem, object);
  if (options_.highmem) impl_->map.add_ram(high_base, size, object);
  pmap_ = std::make_unique<pmap::Pmap>(pmap::PmapType::pt_ept, arena_, options_.ept);
  code_pages_ = std::make_unique<CodePages>((high_base + options_.highmem) >> page_shift);
  pages_ = std::make_unique<RamPages>(size >> page_shift, object->data(), object->fd());
  pages_->set_pmap(*pmap_);
  pages_->set_around(options_.fault_around);
  if (options_.resident) return start_pager();
  if (options_.prefault)
    prefaulter_ = std::make_unique<Prefaulter>(options_.fault_around << page_shift, options_.confined);
  return {};
}

Result<void> Vmspace::start_pager() {
  constexpr u64 least = 64 * KiB;
  if (options_.resident < least)
    return fail(EINVAL, "memory.resident={}: expected at least 64K", options_.resident);
  auto swap = SwapFile::open(options_.swap, impl_->objects.front()->size());
  if (!swap) return tl::make_unexpected(swap.error());
  pages_->set_swap(std::move(*swap), options_.resident >> page_shift);
  pager_ = std::make_unique<Pager>(*pages_, options_.confined);
  return {};
}

Vmspace::~Vmspace() {
  if (const u64 left = holds_outstanding())
    log_warn("guest memory: {} holds were not released", left);
  pager_.reset();
}

bool Vmspace::lost_memory() const {
  const std::shared_lock guard(impl_->lock);
  return std::ranges::any_of(impl_->objects, [](const auto& object) { return object->lost(); });
}

int Vmspace::ram_fd() const {
  return impl_->objects.front()->fd();
}

/// The bank of the object that comes next: that of page tables is the second.
unsigned Vmspace::next_bank() const {
  return static_cast<unsigned>(impl_->objects.size()) + 1;
}

Result<std::byte*> Vmspace::add_segment(Gpa gpa, u64 length, Prot prot, std::string name) {
  if (auto ok = check_range(gpa, length); !ok) return tl::make_unexpected(ok.error());
  const std::unique_lock guard(impl_->lock);
  auto& parked = impl_->parked;
  const auto reuse = std::ranges::find(parked, length, &VmObject::size);
  std::unique_ptr<VmObject> fresh;
  if (reuse == parked.end()) {
    const unsigned bank = next_bank();
    if (bank >= pmap::FrameArena::bank_max || length > u64{1} << pmap::FrameArena::bank_shift)
      return fail(ENOSPC, "segment \"{}\": too many segments, or too large", name);
    auto made = VmObject::create(name, bank, length);
    if (!made) return tl::make_unexpected(made.error());
    fresh = std::move(*made);
  }
  VmObject* const object = fresh ? fresh.get() : *reuse;
  if (!impl_->map.add_segment(gpa.value(), {length, prot, object, name}))
    return fail(EEXIST, "segment \"{}\" at {:#x}: the range has a segment", name, gpa.value());
  if (fresh) {
    keep(std::move(fresh));
  } else {
    object->discard();  // a vCPU may have written between its removal and the invalidation
    parked.erase(reuse);
  }
  remap(gpa.value(), length);
  return object->data();
}

Result<unsigned> Vmspace::add_files(const std::string& name,
                                    std::span<const VmObject::Piece> pieces, bool writable) {
  const std::unique_lock guard(impl_->lock);
  const unsigned bank = next_bank();
  if (bank >= pmap::FrameArena::bank_max)
    return fail(ENOSPC, "segment \"{}\": too many segments", name);
  auto made = VmObject::map_files(name, bank, pieces, writable);
  if (!made) return tl::make_unexpected(made.error());
  impl_->files.push_back({made->get(), name, writable});
  keep(std::move(*made));
  return static_cast<unsigned>(impl_->files.size() - 1);
}

Result<std::byte*> Vmspace::show_files(unsigned number, Gpa gpa, Prot prot, bool uncacheable) {
  const std::unique_lock guard(impl_->lock);
  if (number >= impl_->files.size()) return fail(EINVAL, "no memory of files has number {}", number);
  const auto& [object, name, writable] = impl_->files[number];
  if (auto ok = check_range(gpa, object->size()); !ok) return tl::make_unexpected(ok.error());
  if (has(prot, Prot::write) && !writable) return fail(EACCES, "segment \"{}\" is read-only", name);
  if (impl_->map.shows(object)) return fail(EBUSY, "segment \"{}\" is shown elsewhere", name);
  if (!impl_->map.add_segment(gpa.value(), {object->size(), prot, object, name, uncacheable}))
    return fail(EEXIST, "segment \"{}\" at {:#x}: the range has a segment", name, gpa.value());
  remap(gpa.value(), object->size());
  return object->data();
}

/// Map lock held.
void Vmspace::keep(std::unique_ptr<VmObject> object) {
  arena_.set_bank(object->bank(), object->data());
  impl_->objects.push_back(std::move(object));
}

Result<void> Vmspace::remove_segment(Gpa gpa) {
  const std::unique_lock guard(impl_->lock);
  const VmMap::Segment* found = impl_->map.segment(gpa.value());
  if (!found) return fail(ENOENT, "no segment starts at {:#x}", gpa.value());
  if (found->object->anonymous() && found->object->pinned())
    return fail(EBUSY, "segment \"{}\" is in use", found->name);
  const auto segment = impl_->map.remove_segment(gpa.value());
  remap(gpa.value(), segment->length);
  segment->object->discard();
  if (segment->object->anonymous()) impl_->parked.push_back(segment->object);
  return {};
}

Result<void> Vmspace::move_segment(Gpa from, Gpa to) {
  const std::unique_lock guard(impl_->lock);
  const VmMap::Segment* found = impl_->map.segment(from.value());
  if (!found) return fail(ENOENT, "no segment starts at {:#x}", from.value());
  if (auto ok = check_range(to, found->length); !ok) return ok;
  const auto s = impl_->map.remove_segment(from.value());
  if (!impl_->map.add_segment(to.value(), *s)) {
    // Its old place was free a moment ago, under the same lock.
    static_cast<void>(impl_->map.add_segment(from.value(), *s));
    return fail(EEXIST, "segment \"{}\" to {:#x}: the range has a segment", s->name, to.value());
  }
  remap(from.value(), s->length);
  remap(to.value(), s->length);
  return {};
}

void Vmspace::remap(u64 gpa, u64 length) {
  pmap_->remove(gpa, length);
  const u64 end = (gpa + length) >> page_shift;
  for (u64 page = gpa >> page_shift; page < end; ++page) code_pages_->written(page);
}

std::vector<Vmspace::MapEntry> Vmspace::entries() const {
  const std::shared_lock guard(impl_->lock);
  std::vector<MapEntry> all;
  for (const VmMap::Entry& e : impl_->map.entries())
    all.push_back({Gpa(e.start), e.end - e.start, e.prot, std::string(e.name), e.offset,
                   e.object->size()});
  return all;
}

u64 Vmspace::resident_bytes() const {
  const std::shared_lock guard(impl_->lock);
  u64 sum = 0;
  for (const auto& object : impl_->objects) sum += object->resident_bytes();
  return sum;
}

u64 Vmspace::holds_outstanding() const {
  return impl_->holds.load(std::memory_order_acquire);
}

}  // namespace bhyve::mem
