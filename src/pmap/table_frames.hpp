#pragma once
#include <atomic>

#include "base/address.hpp"
#include "base/types.hpp"
#include "pmap/arena.hpp"

namespace bhyve::pmap {

/// The page-table frames of one pmap: bank 1 of its arena. Address space is reserved once, because
/// a bank's base never moves, and made usable in chunks. Frames are zero when handed out and are
/// all given back together, in the destructor: a hardware walker may be inside a table at any time
/// before that (see PageTable). Thread safety: allocate() under the pmap lock; used() from any
/// thread.
class TableFrames final {
 public:
  /// Enough for 4 KiB mappings of twice the largest bank.
  static constexpr u64 reserved_bytes = (u64{1} << FrameArena::bank_shift) / 256;

  /// Throws std::bad_alloc when the address space cannot be reserved (set-up only).
  explicit TableFrames(FrameArena& arena);
  ~TableFrames();
  TableFrames(const TableFrames&) = delete;
  TableFrames& operator=(const TableFrames&) = delete;

  /// A zeroed frame; false when the host gives no more memory.
  [[nodiscard]] bool allocate(ArenaAddr& frame);
  [[nodiscard]] u64 used() const { return used_.load(std::memory_order_relaxed); }

 private:
  FrameArena& arena_;
  std::byte* base_;
  u64 committed_ = 0;  ///< bytes usable from base_ on
  std::atomic<u64> used_{0};
};

}  // namespace bhyve::pmap
