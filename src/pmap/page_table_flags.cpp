// Accessed and modified flags: scans, emulation, and the promotion that depends on them.
#include <algorithm>

#include "pmap/page_table.hpp"
#include "pmap/page_table_walk.hpp"
#include "pmap/pmap_ept.hpp"
#include "pmap/pmap_x86.hpp"

namespace bhyve::pmap {

template <class Format>
bool PageTable<Format>::clear_accessed(u64 start, u64 last, const FlagSink& sink) {
  bool any = false;
  const u64 bit = format_.accessed_bit();
  for_whole_leaves(root_, top_level, start, last, [&](Entry& slot, u64 va, unsigned level) {
    u64 e = slot.load(std::memory_order_acquire), now;
    if (!(e & bit)) return;
    do {
      now = format_.safe_to_clear_referenced(e) ? e & ~bit : 0;
    } while (!slot.compare_exchange_weak(e, now, std::memory_order_seq_cst));
    if (!now) harvest(e, va, level);
    sink(va, level_size(level));
    any = true;
  });
  return any;
}

template <class Format>
bool PageTable<Format>::clear_modified(u64 start, u64 last) {
  return clear_modified(root_, top_level, start, last);
}

template <class Format>
bool PageTable<Format>::clear_modified(ArenaAddr table, unsigned level, u64 start, u64 last) {
  bool any = false;
  const u64 bit = format_.modified_bit();
  for_whole_leaves(table, level, start, last, [&](Entry& slot, u64 va, unsigned at_level) {
    if (!(slot.load(std::memory_order_acquire) & bit)) return;
    any = true;
    if (at_level > 1 && make_table(&slot, at_level)) {
      clear_modified(format_.frame(slot.load(std::memory_order_relaxed)), at_level - 1,
                     std::max(va, start), std::min(last, va + level_size(at_level) - 1));
      return;
    }
    // Without memory for a split all of a large leaf becomes clean and is reported so.
    harvest(slot.fetch_and(~bit, std::memory_order_seq_cst), va, at_level);
  });
  return any;
}

template <class Format>
auto PageTable<Format>::find_leaf(u64 va, unsigned& level) const -> Entry* {
  ArenaAddr table = root_;
  for (level = top_level;; --level) {
    Entry* slot = table_at(table) + index(va, level);
    const u64 e = slot->load(std::memory_order_acquire);
    if (!format_.present(e)) return nullptr;
    if (format_.is_leaf(e, level)) return slot;
    table = format_.frame(e);
  }
}

template <class Format>
bool PageTable<Format>::covered(u64 va, const Mapping& mapping) {
  unsigned level;
  Entry* slot = find_leaf(va, level);
  if (!slot || level == 1) return false;
  const u64 leaf = format_.leaf(mapping, level);
  const u64 flags = leaf & (format_.accessed_bit() | format_.modified_bit());
  u64 e = slot->load(std::memory_order_acquire);
  do {
    const bool same = format_.frame(e, level).value() + va % level_size(level) ==
                          mapping.frame.value() &&
                      !((e ^ leaf) & ~(Format::Frame::mask | format_.loose_bits()));
    if (!same) return false;
  } while (!slot->compare_exchange_weak(e, e | flags, std::memory_order_seq_cst));
  return true;
}

template <class Format>
auto PageTable<Format>::emulate(u64 va, bool write) -> Emulation {
  unsigned level;
  Entry* slot = find_leaf(va, level);
  if (!slot) return Emulation::none;
  u64 e = slot->load(std::memory_order_acquire);
  for (;;) {
    if (!format_.present(e) || !format_.is_leaf(e, level)) return Emulation::none;
    // A large writable leaf is modified already: the write met one without the right.
    if (write && (level > 1 || !(e & format_.rw_bit()))) return Emulation::none;
    // Both at once: to write without reading is a misconfiguration.
    const u64 now = e | format_.accessed_bit() | (write ? format_.modified_bit() : 0);
    if (slot->compare_exchange_weak(e, now, std::memory_order_seq_cst)) break;
  }
  if (write) return Emulation::dirty;
  return level > 1 ? Emulation::superpage_accessed : Emulation::accessed;
}

/// Looks only, so that pages that fail keep their rights.
template <class Format>
bool PageTable<Format>::may_merge(const Entry* entries) const {
  const u64 first = entries[0].load(std::memory_order_relaxed);
  if (!format_.present(first) || !(first & format_.accessed_bit()) ||
      format_.frame(first).value() % superpage_size)
    return false;
  for (u64 n = 1; n < entries_per_table; ++n) {
    const u64 e = entries[n].load(std::memory_order_relaxed);
    if (e != first + n * page_size) return false;
  }
  return true;
}

template <class Format>
auto PageTable<Format>::promote(u64 va) -> Promotion {
  Entry* slot = table_at(root_);
  for (unsigned level = top_level;; --level) {
    if (level < top_level) slot = table_at(format_.frame(slot->load(std::memory_order_relaxed)));
    slot += index(va, level);
    const u64 e = slot->load(std::memory_order_acquire);
    if (!format_.present(e) || format_.is_leaf(e, level)) return Promotion::not_tried;
    if (level == 2) break;
  }
  const u64 old = slot->load(std::memory_order_relaxed);
  Entry* entries = table_at(format_.frame(old));
  if (!may_merge(entries)) return Promotion::failed;
  u64 first = 0;
  for (u64 n = 0; n < entries_per_table; ++n) {
    u64 e = entries[n].load(std::memory_order_relaxed);
    u64 now;
    do {
      const bool clean = (e & format_.rw_bit()) && !(e & format_.modified_bit());
      now = clean ? format_.without_write(e) : e;
    } while (now != e && !entries[n].compare_exchange_weak(e, now, std::memory_order_seq_cst));
    if (n == 0) first = now;
    if (now != first + n * page_size) return Promotion::failed;  // a walker was faster
  }
  slot->store(format_.merged(first), std::memory_order_seq_cst);
  keep_table(slot, 2, old);
  return Promotion::done;
}

#define BHYVE_INSTANTIATE(F)                                                     \
  template bool PageTable<F>::clear_accessed(u64, u64, const FlagSink&);         \
  template bool PageTable<F>::clear_modified(u64, u64);                          \
  template bool PageTable<F>::covered(u64, const Mapping&);                      \
  template PageTable<F>::Emulation PageTable<F>::emulate(u64, bool);             \
  template PageTable<F>::Promotion PageTable<F>::promote(u64);
BHYVE_INSTANTIATE(Ept)
BHYVE_INSTANTIATE(X86)
#undef BHYVE_INSTANTIATE

}  // namespace bhyve::pmap
