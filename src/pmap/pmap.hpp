#pragma once
#include <atomic>
#include <functional>
#include <memory>

#include "base/address.hpp"
#include "base/error.hpp"
#include "base/types.hpp"
#include "pmap/arena.hpp"

namespace bhyve::pmap {

/// PT_X86: ordinary page-table entries, for tables that we own. PT_EPT: Intel's EPT layout, for
/// guests (facts sheet 7).
enum class PmapType : u8 { pt_x86, pt_ept };

/// Rights and attributes of one mapping, independent of the entry format.
struct Mapping final {
  ArenaAddr frame;
  bool write = false;
  bool exec = true;
  bool uncacheable = false;
  bool wired = false;
};

/// The page tables of one address space. One algorithm for both formats; bit positions come from the
/// format (pmap_modified_bit() and friends). Entries are read by "hardware" walkers without a lock:
/// every change is a single atomic store or compare-exchange.
/// Thread safety: changes take the pmap lock; lookups and root() from any thread.
class Pmap final {
 public:
  Pmap(PmapType type, FrameArena& arena, bool ad_bits);
  ~Pmap();
  Pmap(const Pmap&) = delete;
  Pmap& operator=(const Pmap&) = delete;

  [[nodiscard]] PmapType type() const { return type_; }
  /// Arena address of the top-level table (4-level walk).
  [[nodiscard]] ArenaAddr root() const { return root_; }
  [[nodiscard]] bool ad_bits() const { return ad_bits_; }

  /// Maps one 4 KiB page (replaces what was there; rights that shrink or a changed frame invalidate).
  [[nodiscard]] Result<void> enter(u64 va, const Mapping& mapping);
  /// Removes every mapping in [start, start + length) and invalidates once.
  void remove(u64 start, u64 length);
  /// Takes write permission away in the range and invalidates once.
  void write_protect(u64 start, u64 length);
  /// The entry for va, if present at any level. 4 raw entries from the top for vm_get_gpa_pmap().
  struct Lookup {
    u64 entries[4] = {};
    unsigned count = 0;  ///< entries walked; the last one is the leaf or the missing one
    bool present = false;
    u64 frame = 0;       ///< arena address of va's byte when present
  };
  [[nodiscard]] Lookup lookup(u64 va) const;

  /// The EPT generation. A vCPU compares it on entry and whenever it is notified, and drops all
  /// cached translations when it differs.
  [[nodiscard]] u64 generation() const { return generation_.load(std::memory_order_acquire); }
  /// pmap_invalidate_ept(): bumps the generation and calls the notifier.
  void invalidate_ept();
  /// Called (any thread) after each bump; set once before vCPUs run. Must not take the pmap lock.
  void set_notifier(std::function<void()> notifier) { notifier_ = std::move(notifier); }

  [[nodiscard]] u64 modified_bit() const;
  [[nodiscard]] u64 accessed_bit() const;
  [[nodiscard]] u64 valid_bit() const;
  [[nodiscard]] u64 rw_bit() const;
  /// Pages used by the tables themselves.
  [[nodiscard]] u64 table_pages() const;

 private:
  PmapType type_;
  FrameArena& arena_;
  bool ad_bits_;
  ArenaAddr root_{};
  std::atomic<u64> generation_{1};
  std::function<void()> notifier_;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bhyve::pmap
