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

Tables make_tables(PmapType type, const PmapFlags& flags, FrameArena& arena,
                   TableFrames& frames) {
  if (type == PmapType::pt_ept)
    return Tables(std::in_place_index<0>, Ept(flags.ad_bits, flags.exec_only), arena, frames);
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
  Impl(PmapType type, const PmapFlags& flags, FrameArena& arena)
      : frames(arena), tables(make_tables(type, flags, arena, frames)) {}

  TableFrames frames;
  Tables tables;
  std::mutex lock;  ///< changes of the tables, except accessed and dirty flags
  using Counter = std::atomic<u64>;
  Counter promotions{0}, promotion_failures{0}, mappings{0}, dirty_emulations{0},
      accessed_emulations{0}, superpage_accessed_emulations{0}, emulation_promotions{0},
      invalidations{0};

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

Pmap::Pmap(PmapType type, FrameArena& arena, const PmapFlags& flags)
    : type_(type), flags_(flags), impl_(std::make_unique<Impl>(type, flags, arena)) {
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
    impl_->mappings.fetch_add(1, std::memory_order_relaxed);
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

bool Pmap::remove_quietly(u64 start, u64 length) {
  const Range r = page_range(start, length);
  if (r.empty) return false;
  const std::scoped_lock guard(impl_->lock);
  return std::visit([&](auto& t) { return t.remove(r.start, r.last); }, impl_->tables);
}

void Pmap::set_dirty_sink(FlagSink sink) {
  std::visit([&](auto& t) { t.set_dirty_sink(std::move(sink)); }, impl_->tables);
}

void Pmap::clear_accessed(u64 start, u64 length, const FlagSink& sink) {
  const Range r = page_range(start, length);
  if (r.empty) return;
  bool any;
  {
    const std::scoped_lock guard(impl_->lock);
    any = std::visit([&](auto& t) { return t.clear_accessed(r.start, r.last, sink); },
                     impl_->tables);
  }
  settle(any);
}

void Pmap::clear_modified(u64 start, u64 length) {
  const Range r = page_range(start, length);
  if (r.empty) return;
  bool any;
  {
    const std::scoped_lock guard(impl_->lock);
    any = std::visit([&](auto& t) { return t.clear_modified(r.start, r.last); }, impl_->tables);
  }
  settle(any);
}

bool Pmap::emulate_accessed_dirty(u64 va, bool write) {
  if (flags_.ad_bits || !in_space(va, 1)) return false;
  const auto was = std::visit(
      [&](auto& t) { return static_cast<int>(t.emulate(va & ~page_mask, write)); }, impl_->tables);
  const auto count = [](Impl::Counter& c) { c.fetch_add(1, std::memory_order_relaxed); };
  using Emulation = PageTable<Ept>::Emulation;
  switch (static_cast<Emulation>(was)) {
    case Emulation::none: return false;
    case Emulation::accessed: count(impl_->accessed_emulations); break;
    case Emulation::superpage_accessed: count(impl_->superpage_accessed_emulations); return true;
    case Emulation::dirty: count(impl_->dirty_emulations); break;
  }
  if (promote(va)) count(impl_->emulation_promotions);
  return true;
}

bool Pmap::promote(u64 va) {
  if (!flags_.superpages || !in_space(va, 1)) return false;
  const auto was = [&] {
    const std::scoped_lock guard(impl_->lock);
    return std::visit([&](auto& t) { return static_cast<int>(t.promote(va)); }, impl_->tables);
  }();
  using Promotion = PageTable<Ept>::Promotion;
  switch (static_cast<Promotion>(was)) {
    case Promotion::not_tried: return false;
    case Promotion::failed:
      impl_->promotion_failures.fetch_add(1, std::memory_order_relaxed);
      return false;
    case Promotion::done: break;
  }
  impl_->promotions.fetch_add(1, std::memory_order_relaxed);
  begin_generation();  // the size of a mapping changed
  return true;
}

PmapStats Pmap::stats() const {
  const auto read = [](const Impl::Counter& c) { return c.load(std::memory_order_relaxed); };
  const Impl& i = *impl_;
  PmapStats s;
  s.promotions = read(i.promotions);
  s.promotion_failures = read(i.promotion_failures);
  s.demotions = std::visit([](const auto& t) { return t.demotions(); }, i.tables);
  s.mappings = read(i.mappings);
  s.dirty_emulations = read(i.dirty_emulations);
  s.accessed_emulations = read(i.accessed_emulations);
  s.superpage_accessed_emulations = read(i.superpage_accessed_emulations);
  s.emulation_promotions = read(i.emulation_promotions);
  s.invalidations = read(i.invalidations);
  return s;
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
  stale_generations_.fetch_add(1, std::memory_order_seq_cst);
  begin_generation();
}

void Pmap::begin_generation() {
  generation_.fetch_add(1, std::memory_order_seq_cst);
  impl_->invalidations.fetch_add(1, std::memory_order_relaxed);
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
