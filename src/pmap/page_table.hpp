#pragma once
#include <atomic>
#include <unordered_map>

#include "base/address.hpp"
#include "base/types.hpp"
#include "pmap/arena.hpp"
#include "pmap/mapping.hpp"
#include "pmap/table_frames.hpp"

namespace bhyve::pmap {

/// The page-table algorithm, for either entry format (pmap_ept.hpp, pmap_x86.hpp). "Hardware"
/// walkers read the tables and set accessed and dirty flags at any time, so every change of an
/// entry is one atomic operation on it, and a walker sees the old or the new entry, never a
/// mixture.
///
/// A table page serves one slot (one range of addresses) for the life of the PageTable: it is never
/// freed, and a table that a large leaf replaced waits for the next split of that same slot. So a
/// walker that is still inside a replaced table finds only entries of its own range: those from
/// before the change, which the generation makes it drop, or those of the split.
///
/// Thread safety: lookup() and mark_dirty() from any thread; the others under one lock (the
/// Pmap's).
template <class Format>
class PageTable final {
 public:
  /// What a change means for cached translations.
  enum class Change : u8 {
    none,       ///< nothing to invalidate: the entry was missing, or rights only grew
    stale,      ///< a translation that was valid is so no more: invalidate
    no_memory,  ///< no table page to be had; nothing changed
  };
  /// Which pages fill() touches.
  enum class Fill : u8 {
    missing,  ///< only those not mapped at all
    dirty,    ///< also those mapped without write permission; all become modified
  };

  /// Throws std::bad_alloc without memory for the top table.
  PageTable(Format format, FrameArena& arena, TableFrames& frames);

  [[nodiscard]] ArenaAddr root() const { return root_; }
  [[nodiscard]] const Format& format() const { return format_; }

  /// Maps the page of `level` (1: 4 KiB, 2: 2 MiB, 3: 1 GiB) at va, aligned to it. A larger leaf in
  /// the way is split, a table in the way replaced. Accessed and dirty survive if the frame stays.
  Change enter(u64 va, unsigned level, const Mapping& mapping);
  /// Maps `pages` 4 KiB pages from va on to consecutive frames, as far as `fill` asks for it.
  Change fill(u64 va, const Mapping& first, u64 pages, Fill fill);
  /// Unmaps [start, last]; true when anything was mapped. Large leaves are split; without memory
  /// for that the whole large leaf goes, and the next fault brings the rest back.
  bool remove(u64 start, u64 last);
  /// Takes write permission away in [start, last]; true when any had it. Splits as remove() does.
  bool write_protect(u64 start, u64 last);
  /// Told of every modified flag that is cleared, or goes with the mapping or the right to write that
  /// had it.
  void set_dirty_sink(FlagSink sink) { dirty_sink_ = std::move(sink); }

  // page_table_flags.cpp
  /// Clears the accessed flag wherever it is set in [start, last] and tells `sink`; a large leaf
  /// counts as a whole. Emulated flags that cannot be cleared in place cost the mapping. True when
  /// anything changed.
  bool clear_accessed(u64 start, u64 last, const FlagSink& sink);
  /// The same for the modified flag, of which the dirty sink is told; large leaves that have it are
  /// split.
  bool clear_modified(u64 start, u64 last);
  /// pmap_emulate_accessed_dirty(): what a fault at va for reading or writing comes to.
  enum class Emulation : u8 { none, accessed, superpage_accessed, dirty };
  Emulation emulate(u64 va, bool write);
  /// Makes the 512 pages around va one large leaf, if they agree. A leaf that is writable but not
  /// modified loses the right to write first, so that a large writable leaf is always modified.
  enum class Promotion : u8 { not_tried, failed, done };
  Promotion promote(u64 va);

  /// Large leaves that were split, since ever.
  [[nodiscard]] u64 demotions() const { return demotions_.load(std::memory_order_relaxed); }
  /// Sets accessed and modified in every writable leaf of [start, last].
  void mark_dirty(u64 start, u64 last);

  [[nodiscard]] Lookup lookup(u64 va) const;

 private:
  using Entry = std::atomic<u64>;
  static constexpr unsigned entries_per_table = 512;

  [[nodiscard]] Entry* table_at(ArenaAddr table) const {
    return reinterpret_cast<Entry*>(arena_.host(table));
  }
  [[nodiscard]] static unsigned index(u64 va, unsigned level) {
    return static_cast<unsigned>(va >> level_shift(level)) % entries_per_table;
  }
  /// The entry of `level` for va, with the tables above it made; nullptr without memory.
  [[nodiscard]] Entry* walk(u64 va, unsigned level);
  /// The table page kept for this slot, or a new one; false without memory.
  [[nodiscard]] bool table_for(const Entry* slot, ArenaAddr& table);
  /// Makes `slot` (of `level`, not a table yet) point to a table that maps the same as now.
  [[nodiscard]] bool make_table(Entry* slot, unsigned level);
  void fill_split(ArenaAddr table, unsigned level, u64 large_leaf);
  /// Keeps the table that `old` pointed to, if it is one, for the slot it left.
  void keep_table(const Entry* slot, unsigned level, u64 old);
  Change replace(Entry* slot, u64 va, unsigned level, u64 leaf);
  /// Calls op(entry, va, level) for each leaf in [start, last], splitting those that stick out.
  template <class Op>
  void for_leaves(ArenaAddr table, unsigned level, u64 start, u64 last, const Op& op);
  /// The same without splitting: a large leaf that sticks out counts as a whole.
  template <class Op>
  void for_whole_leaves(ArenaAddr table, unsigned level, u64 start, u64 last, const Op& op);
  bool clear_modified(ArenaAddr table, unsigned level, u64 start, u64 last);
  /// Tells the sink of the modified flag of an entry that is gone, or of all below it.
  void harvest(u64 old, u64 va, unsigned level);
  /// The leaf that maps va and its level, or nullptr.
  [[nodiscard]] Entry* find_leaf(u64 va, unsigned& level) const;
  /// True when a larger leaf maps this page just so; its flags are then set as `mapping` says.
  [[nodiscard]] bool covered(u64 va, const Mapping& mapping);
  [[nodiscard]] bool may_merge(const Entry* entries) const;
  void mark_dirty(ArenaAddr table, unsigned level, u64 start, u64 last);

  Format format_;
  FrameArena& arena_;
  TableFrames& frames_;
  ArenaAddr root_;
  bool resized_ = false;  ///< a large leaf was split (or lost) since a change began
  std::unordered_map<const Entry*, ArenaAddr> kept_tables_;
  FlagSink dirty_sink_;
  std::atomic<u64> demotions_{0};
};

}  // namespace bhyve::pmap
