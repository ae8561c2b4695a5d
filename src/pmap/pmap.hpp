#pragma once
#include <atomic>
#include <functional>
#include <memory>

#include "base/address.hpp"
#include "base/error.hpp"
#include "base/types.hpp"
#include "pmap/arena.hpp"
#include "pmap/mapping.hpp"

namespace bhyve::pmap {

/// The page tables of one address space. One algorithm for both formats; bit positions come from
/// the format (pmap_modified_bit() and friends). Entries are read by "hardware" walkers without a
/// lock: every change is a single atomic store or compare-exchange. A walker sets accessed and
/// dirty flags by compare-exchange of the leaf it read; if that fails, it walks again. Addresses
/// have 48 bits: beyond, nothing is mapped and enter() fails (EINVAL). enter() fails with ENOMEM
/// without host memory for tables. One pmap an arena: its tables are the arena's bank 1. Thread
/// safety: changes take the pmap lock; lookups and root() from any thread.
class Pmap final {
 public:
  /// Throws std::bad_alloc without address space for the tables (set-up only).
  Pmap(PmapType type, FrameArena& arena, const PmapFlags& flags = {});
  ~Pmap();
  Pmap(const Pmap&) = delete;
  Pmap& operator=(const Pmap&) = delete;

  [[nodiscard]] PmapType type() const { return type_; }
  /// Arena address of the top-level table (4-level walk).
  [[nodiscard]] ArenaAddr root() const { return root_; }
  [[nodiscard]] const PmapFlags& flags() const { return flags_; }
  [[nodiscard]] bool ad_bits() const { return flags_.ad_bits; }
  /// Told, under the pmap lock, of every modified flag that is cleared, or goes with its mapping or
  /// with the right to write: who keeps dirty pages must remember it. Set once before the first mapping.
  void set_dirty_sink(FlagSink sink);

  /// Maps one 4 KiB page (replaces what was there; rights that shrink or a changed frame
  /// invalidate).
  [[nodiscard]] Result<void> enter(u64 va, const Mapping& mapping);
  /// Removes every mapping in [start, start + length) and invalidates once.
  void remove(u64 start, u64 length);
  /// Removes the mappings without an invalidation: the caller has several to remove, and begins a
  /// generation before it relies on any of it. True when anything was mapped.
  bool remove_quietly(u64 start, u64 length);
  /// Takes write permission away in the range and invalidates once.
  void write_protect(u64 start, u64 length);
  /// Clears the accessed (modified) flag of every mapping in the range that has it, tells `sink` (the
  /// dirty sink) under the pmap lock of each, and invalidates once. What is written before the vCPUs
  /// have passed that generation may not set the flag again: see Vmspace::take_dirty().
  void clear_accessed(u64 start, u64 length, const FlagSink& sink);
  void clear_modified(u64 start, u64 length);
  /// pmap_emulate_accessed_dirty(): sets the flags that an access at va wants, where the hardware
  /// does not and the mapping allows it, and tries a promotion. False: not handled, it is a matter
  /// for the fault handler. No invalidation: rights only grow. Any thread.
  [[nodiscard]] bool emulate_accessed_dirty(u64 va, bool write);
  /// Makes the 2 MiB around va one mapping if its 512 pages are mapped, accessed, and agree in
  /// everything else (facts sheet 7.4).
  bool promote(u64 va);
  /// Maps 2 MiB; va and frame are multiples of it. Tables below are replaced.
  [[nodiscard]] Result<void> enter_large(u64 va, const Mapping& mapping);
  /// Maps those of `pages` 4 KiB pages from va on (consecutive frames) that are not mapped: what is
  /// mapped, even with fewer rights, stays (fault-around).
  [[nodiscard]] Result<void> fill(u64 va, const Mapping& first, u64 pages);
  /// Maps all of them for writing and marks them accessed and modified (holds).
  [[nodiscard]] Result<void> fill_dirty(u64 va, const Mapping& first, u64 pages);
  /// Marks every writable mapping in [start, start + length) accessed and modified. Lock-free.
  void mark_dirty(u64 start, u64 length);
  /// The entries on the way to va, for vm_get_gpa_pmap() and tests.
  using Lookup = pmap::Lookup;
  [[nodiscard]] Lookup lookup(u64 va) const;

  /// The EPT generation. A vCPU compares it on entry and whenever it is notified, and drops all
  /// cached translations when it differs.
  [[nodiscard]] u64 generation() const { return generation_.load(std::memory_order_seq_cst); }
  /// Counts the generations before which a translation became stale. A promotion begins a generation, too,
  /// but what was cached by pages of 4 KiB stays right: a cache that knows no larger ones compares this, after
  /// generation(), and drops all when it differs.
  [[nodiscard]] u64 stale_generations() const { return stale_generations_.load(std::memory_order_seq_cst); }
  /// pmap_invalidate_ept(): bumps the generation and calls the notifier.
  void invalidate_ept();
  /// Called (any thread, no pmap lock held) after each bump; set once before vCPUs run.
  /// Must not call back into the pmap's changes nor wait for a vCPU.
  void set_notifier(std::function<void()> notifier) { notifier_ = std::move(notifier); }

  [[nodiscard]] u64 modified_bit() const;
  [[nodiscard]] u64 accessed_bit() const;
  [[nodiscard]] u64 valid_bit() const;
  [[nodiscard]] u64 rw_bit() const;
  [[nodiscard]] PmapStats stats() const;
  /// Pages used by the tables themselves.
  [[nodiscard]] u64 table_pages() const;

 private:
  struct Impl;
  void settle(bool stale);
  void begin_generation();

  PmapType type_;
  PmapFlags flags_;
  ArenaAddr root_{};
  std::atomic<u64> generation_{1};
  std::atomic<u64> stale_generations_{0};  ///< counted before generation_, after the tables changed
  std::function<void()> notifier_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bhyve::pmap
