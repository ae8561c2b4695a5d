#include "pmap/page_table.hpp"

#include <algorithm>
#include <new>

#include "pmap/page_table_walk.hpp"
#include "pmap/pmap_ept.hpp"
#include "pmap/pmap_x86.hpp"

namespace bhyve::pmap {

static_assert(std::atomic<u64>::is_always_lock_free && sizeof(std::atomic<u64>) == sizeof(u64));

template <class Format>
PageTable<Format>::PageTable(Format format, FrameArena& arena, TableFrames& frames)
    : format_(format), arena_(arena), frames_(frames) {
  if (!frames_.allocate(root_)) throw std::bad_alloc();
}

template <class Format>
bool PageTable<Format>::table_for(const Entry* slot, ArenaAddr& table) {
  const auto kept = kept_tables_.find(slot);
  if (kept == kept_tables_.end()) return frames_.allocate(table);
  table = kept->second;
  kept_tables_.erase(kept);
  return true;
}

template <class Format>
void PageTable<Format>::keep_table(const Entry* slot, unsigned level, u64 old) {
  if (format_.present(old) && !format_.is_leaf(old, level)) kept_tables_[slot] = format_.frame(old);
}

template <class Format>
void PageTable<Format>::fill_split(ArenaAddr table, unsigned level, u64 large_leaf) {
  const bool mapped = format_.present(large_leaf);
  const u64 first = mapped ? format_.split(large_leaf, level) : 0;
  Entry* entries = table_at(table);
  for (unsigned i = 0; i < entries_per_table; ++i) {
    const u64 value = mapped ? first + i * level_size(level - 1) : 0;
    keep_table(&entries[i], level - 1, entries[i].exchange(value, std::memory_order_relaxed));
  }
}

template <class Format>
bool PageTable<Format>::make_table(Entry* slot, unsigned level) {
  const bool was_kept = kept_tables_.contains(slot);
  ArenaAddr table;
  if (!table_for(slot, table)) return false;
  u64 old = slot->load(std::memory_order_relaxed);
  // A walker may set accessed or dirty in the large leaf meanwhile: the split must inherit it.
  do {
    if (format_.present(old) || was_kept) fill_split(table, level, old);
  } while (!slot->compare_exchange_weak(old, format_.table(table), std::memory_order_seq_cst));
  if (format_.present(old)) {
    resized_ = true;
    demotions_.fetch_add(1, std::memory_order_relaxed);
  }
  return true;
}

template <class Format>
auto PageTable<Format>::walk(u64 va, unsigned level) -> Entry* {
  ArenaAddr table = root_;
  for (unsigned l = top_level;; --l) {
    Entry* slot = table_at(table) + index(va, l);
    if (l == level) return slot;
    u64 e = slot->load(std::memory_order_acquire);
    if (!format_.present(e) || format_.is_leaf(e, l)) {
      if (!make_table(slot, l)) return nullptr;
      e = slot->load(std::memory_order_relaxed);
    }
    table = format_.frame(e);
  }
}

template <class Format>
void PageTable<Format>::harvest(u64 old, u64 va, unsigned level) {
  if (!dirty_sink_ || !format_.present(old)) return;
  if (format_.is_leaf(old, level)) {
    if (old & format_.modified_bit()) dirty_sink_(va, level_size(level));
    return;
  }
  for_whole_leaves(format_.frame(old), level - 1, va, va + level_size(level) - 1,
                   [this](Entry& e, u64 at, unsigned l) {
                     harvest(e.load(std::memory_order_relaxed), at, l);
                   });
}

template <class Format>
auto PageTable<Format>::replace(Entry* slot, u64 va, unsigned level, u64 leaf) -> Change {
  u64 old = slot->load(std::memory_order_relaxed);
  u64 now;
  do {
    const bool same_frame = format_.present(old) && format_.is_leaf(old, level) &&
                            format_.frame(old, level) == format_.frame(leaf, level);
    now = leaf | (same_frame ? format_.kept(old, leaf) : 0);
    if (now == old) return Change::none;
  } while (!slot->compare_exchange_weak(old, now, std::memory_order_seq_cst));
  if (!format_.present(old)) return Change::none;
  if (!format_.is_leaf(old, level) || (old & ~now & format_.modified_bit()) ||
      format_.frame(old, level) != format_.frame(now, level))
    harvest(old, align_down(va, level_size(level)), level);
  keep_table(slot, level, old);
  return format_.stale(old, now) ? Change::stale : Change::none;
}

template <class Format>
auto PageTable<Format>::enter(u64 va, unsigned level, const Mapping& mapping) -> Change {
  resized_ = false;
  if (level == 1 && covered(va, mapping)) return Change::none;
  Entry* slot = walk(va, level);
  if (!slot) return Change::no_memory;
  const Change change = replace(slot, va, level, format_.leaf(mapping, level));
  return resized_ ? Change::stale : change;
}

template <class Format>
auto PageTable<Format>::fill(u64 va, const Mapping& first, u64 pages, Fill fill) -> Change {
  const auto wanted = [&](u64 e) {
    return !format_.present(e) || (fill == Fill::dirty && !(e & format_.rw_bit()));
  };
  Mapping mapping = first;
  resized_ = false;
  bool stale = false;
  while (pages > 0) {
    const u64 run = std::min<u64>(pages, entries_per_table - index(va, 1));
    // A large leaf that already does is left whole.
    Entry* large = walk(va, 2);
    if (!large) return Change::no_memory;
    const u64 e = large->load(std::memory_order_acquire);
    if (!format_.present(e) || !format_.is_leaf(e, 2) || wanted(e)) {
      Entry* slot = walk(va, 1);
      if (!slot) return Change::no_memory;
      for (u64 i = 0; i < run; ++i, mapping.frame += page_size) {
        if (!wanted(slot[i].load(std::memory_order_relaxed))) continue;
        stale |= replace(&slot[i], va + i * page_size, 1, format_.leaf(mapping, 1)) ==
                 Change::stale;
      }
    } else {
      mapping.frame += run * page_size;
    }
    if (fill == Fill::dirty) mark_dirty(va, va + run * page_size - 1);
    va += run * page_size;
    pages -= run;
  }
  return stale || resized_ ? Change::stale : Change::none;
}

template <class Format>
template <class Op>
void PageTable<Format>::for_leaves(ArenaAddr table, unsigned level, u64 start, u64 last,
                                   const Op& op) {
  const u64 size = level_size(level);
  for (u64 va = start; va <= last; va = align_down(va, size) + size) {
    Entry* slot = table_at(table) + index(va, level);
    const u64 slot_last = align_down(va, size) + size - 1;
    const bool whole = va == align_down(va, size) && slot_last <= last;
    u64 e = slot->load(std::memory_order_acquire);
    if (!format_.present(e)) continue;
    if (format_.is_leaf(e, level) && !whole && level > 1) {
      if (!make_table(slot, level)) {
        harvest(slot->exchange(0, std::memory_order_seq_cst), align_down(va, size), level);
        resized_ = true;
        continue;
      }
      e = slot->load(std::memory_order_relaxed);
    }
    if (format_.is_leaf(e, level))
      op(*slot, va, level);
    else
      for_leaves(format_.frame(e), level - 1, va, std::min(last, slot_last), op);
  }
}

template <class Format>
bool PageTable<Format>::remove(u64 start, u64 last) {
  resized_ = false;
  bool any = false;
  for_leaves(root_, top_level, start, last, [&](Entry& e, u64 va, unsigned level) {
    harvest(e.exchange(0, std::memory_order_seq_cst), va, level);
    any = true;
  });
  return any || resized_;
}

template <class Format>
bool PageTable<Format>::write_protect(u64 start, u64 last) {
  resized_ = false;
  bool any = false;
  for_leaves(root_, top_level, start, last, [&](Entry& e, u64 va, unsigned level) {
    const u64 old = e.fetch_and(format_.without_write(~u64{0}), std::memory_order_seq_cst);
    if (!(old & format_.rw_bit())) return;
    any = true;
    harvest(old, va, level);
  });
  return any || resized_;
}

template <class Format>
void PageTable<Format>::mark_dirty(u64 start, u64 last) {
  mark_dirty(root_, top_level, start, last);
}

template <class Format>
void PageTable<Format>::mark_dirty(ArenaAddr table, unsigned level, u64 start, u64 last) {
  const u64 size = level_size(level);
  for (u64 va = start; va <= last; va = align_down(va, size) + size) {
    Entry* slot = table_at(table) + index(va, level);
    u64 e = slot->load(std::memory_order_acquire);
    // The entry may change under us; each round judges what is there now.
    while (format_.present(e) && format_.is_leaf(e, level) && (e & format_.rw_bit())) {
      const u64 dirty = format_.with_dirty(e);
      if (dirty == e || slot->compare_exchange_weak(e, dirty, std::memory_order_acq_rel)) break;
    }
    if (format_.present(e) && !format_.is_leaf(e, level))
      mark_dirty(format_.frame(e), level - 1, va, std::min(last, align_down(va, size) + size - 1));
  }
}

template <class Format>
Lookup PageTable<Format>::lookup(u64 va) const {
  Lookup result;
  if (va >> va_bits) return result;
  ArenaAddr table = root_;
  for (unsigned level = top_level; level >= 1; --level) {
    const u64 e = table_at(table)[index(va, level)].load(std::memory_order_acquire);
    result.entries[result.count++] = e;
    if (!format_.present(e)) break;
    if (format_.is_leaf(e, level)) {
      result.present = true;
      result.frame = format_.frame(e, level).value() + va % level_size(level);
      break;
    }
    table = format_.frame(e);
  }
  return result;
}

template class PageTable<Ept>;
template class PageTable<X86>;

}  // namespace bhyve::pmap
