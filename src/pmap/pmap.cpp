#include "pmap/pmap.hpp"

#include <algorithm>
#include <mutex>
#include <variant>

#include "pmap/page_table.hpp"
#include "pmap/pmap_ept.hpp"
#include "pmap/pmap_x86.hpp"
#include "pmap/table_frames.hpp"

namespace bhyve::pmap {
namespace {

using Tables = std::variant<PageTable<Ept>, PageTable<X86>>;

Tables make_tables(PmapType type, bool ad_bits, FrameArena& arena, TableFrames& frames) {
  if (type == PmapType::pt_ept) return Tables(std::in_place_index<0>, Ept(ad_bits), arena, frames);
  return Tables(std::in_place_index<1>, X86(), arena, frames);
}

constexpr u64 va_last = (u64{1} << va_bits) - 1;

/// Bytes start .. last of a range, cut to the address space and widened to whole pages.
struct Range {
  u64 start, last;
  bool empty;
};
Range page_range(u64 start, u64 length) {
  if (length == 0 || start > va_last) return {0, 0, true};
  const u64 last = std::min(length - 1, va_last - start) + start;
  return {start & ~page_mask, last | page_mask, false};
}

bool in_space(u64 va, u64 bytes) {
  return bytes <= va_last + 1 && va <= va_last + 1 - bytes;
}

}  // namespace

struct Pmap::Impl {
  Impl(PmapType type, bool ad_bits, FrameArena& arena)
      : frames(arena), tables(make_tables(type, ad_bits, arena, frames)) {}

  TableFrames frames;
  Tables tables;
  std::mutex lock;  ///< changes of the tables, except accessed and dirty flags

  /// Runs change(page_table) under the lock; the result says whether to invalidate.
  template <class Op>
  Result<bool> change(const Op& op) {
    const std::scoped_lock guard(lock);
    return std::visit(
        [&](auto& t) -> Result<bool> {
          using Change = typename std::decay_t<decltype(t)>::Change;
          const Change c = op(t);
          if (c == Change::no_memory) return fail(ENOMEM, "no memory for page tables");
          return c == Change::stale;
        },
        tables);
  }
};

Pmap::Pmap(PmapType type, FrameArena& arena, bool ad_bits)
    : type_(type), ad_bits_(ad_bits), impl_(std::make_unique<Impl>(type, ad_bits, arena)) {
  root_ = std::visit([](const auto& t) { return t.root(); }, impl_->tables);
}

Pmap::~Pmap() = default;

void Pmap::settle(bool stale) {
  if (stale) invalidate_ept();
}

Result<void> Pmap::enter(u64 va, const Mapping& mapping) {
  if (!in_space(va, page_size)) return fail(EINVAL, "address {:#x} has more than 48 bits", va);
  return impl_->change([&](auto& t) { return t.enter(va & ~page_mask, 1, mapping); })
      .map([this](bool stale) { settle(stale); });
}

Result<void> Pmap::enter_large(u64 va, const Mapping& mapping) {
  constexpr u64 mask = superpage_size - 1;
  if (!in_space(va, superpage_size) || (va & mask) || (mapping.frame.value() & mask))
    return fail(EINVAL, "2 MiB mapping at {:#x}: expected addresses aligned to it, of 48 bits", va);
  return impl_->change([&](auto& t) { return t.enter(va, 2, mapping); }).map([this](bool stale) {
    settle(stale);
  });
}

Result<void> Pmap::fill(u64 va, const Mapping& first, u64 pages) {
  if (pages > va_last >> page_shift || !in_space(va, pages << page_shift))
    return fail(EINVAL, "range at {:#x} has more than 48 bits", va);
  return impl_
      ->change([&](auto& t) {
        using Fill = typename std::decay_t<decltype(t)>::Fill;
        return t.fill(va & ~page_mask, first, pages, Fill::missing);
      })
      .map([this](bool stale) { settle(stale); });
}

Result<void> Pmap::fill_dirty(u64 va, const Mapping& first, u64 pages) {
  if (pages > va_last >> page_shift || !in_space(va, pages << page_shift))
    return fail(EINVAL, "range at {:#x} has more than 48 bits", va);
  return impl_
      ->change([&](auto& t) {
        using Fill = typename std::decay_t<decltype(t)>::Fill;
        return t.fill(va & ~page_mask, first, pages, Fill::dirty);
      })
      .map([this](bool stale) { settle(stale); });
}

void Pmap::mark_dirty(u64 start, u64 length) {
  const Range r = page_range(start, length);
  if (!r.empty) std::visit([&](auto& t) { t.mark_dirty(r.start, r.last); }, impl_->tables);
}

void Pmap::remove(u64 start, u64 length) {
  const Range r = page_range(start, length);
  if (r.empty) return;
  {
    const std::scoped_lock guard(impl_->lock);
    std::visit([&](auto& t) { t.remove(r.start, r.last); }, impl_->tables);
  }
  // Also when nothing was mapped: who removed it before us may not have notified yet, and our
  // caller will reuse the memory.
  invalidate_ept();
}

void Pmap::write_protect(u64 start, u64 length) {
  const Range r = page_range(start, length);
  if (r.empty) return;
  {
    const std::scoped_lock guard(impl_->lock);
    std::visit([&](auto& t) { t.write_protect(r.start, r.last); }, impl_->tables);
  }
  invalidate_ept();
}

Pmap::Lookup Pmap::lookup(u64 va) const {
  return std::visit([va](const auto& t) { return t.lookup(va); }, impl_->tables);
}

void Pmap::invalidate_ept() {
  generation_.fetch_add(1, std::memory_order_seq_cst);
  if (notifier_) notifier_();
}

u64 Pmap::modified_bit() const {
  return std::visit([](const auto& t) { return t.format().modified_bit(); }, impl_->tables);
}
u64 Pmap::accessed_bit() const {
  return std::visit([](const auto& t) { return t.format().accessed_bit(); }, impl_->tables);
}
u64 Pmap::valid_bit() const {
  return std::visit([](const auto& t) { return t.format().valid_bit(); }, impl_->tables);
}
u64 Pmap::rw_bit() const {
  return std::visit([](const auto& t) { return t.format().rw_bit(); }, impl_->tables);
}
u64 Pmap::table_pages() const {
  return impl_->frames.used();
}

}  // namespace bhyve::pmap
