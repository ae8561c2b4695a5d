#pragma once
#include <vector>

#include "base/fd.hpp"
#include "base/types.hpp"
#include "engine/soft/translate/code_pool.hpp"

namespace bhyve::soft {

/// Memory for translated code: one memfd mapped twice, writable here and executable there, never both
/// at one address (architecture decision 14). Pages count as resident in both; those of the writable
/// mapping are let go of when there are many. What is committed first (keep()) stays; the rest is regions of
/// a CodePool, as many as it lets this vCPU have, that are filled one after another, round and round. In a
/// region hot code grows upward, cold code lies in chunks that are taken from its end: so that hot code is dense.
/// Owner: the vCPU's thread; contains() from any.
class CodeCache final {
 public:
  /// Without a pool there is no memory.
  /// `records`: bytes of each region's memory that are not for code.
  explicit CodeCache(CodePool* pool, usize records = 0);
  ~CodeCache();
  CodeCache(const CodeCache&) = delete;
  CodeCache& operator=(const CodeCache&) = delete;

  /// False when the host gave no executable memory.
  [[nodiscard]] bool usable() const { return executable_ != nullptr; }
  [[nodiscard]] u8* begin() const { return writable_ + used_; }
  [[nodiscard]] u8* end() const { return writable_ + cold_floor_; }
  [[nodiscard]] u8* cold_begin() const { return writable_ + cold_used_; }
  [[nodiscard]] u8* cold_end() const { return writable_ + cold_limit_; }
  /// Bytes that are taken, cold ones by the chunk, records by the region.
  [[nodiscard]] usize in_use() const {
    return pool_ ? kept_ + held_ * pool_->region_bytes() - (cold_floor_ - used_) : 0;
  }
  /// Takes what was written from begin() on.
  void commit(usize bytes, usize cold_bytes = 0) {
    touch(used_, bytes);
    touch(cold_used_, cold_bytes);
    used_ += (bytes + 15) & ~usize{15};
    cold_used_ += (cold_bytes + 7) & ~usize{7};
  }
  /// What was committed up to now stays; regions begin behind it. Called once.
  void keep();
  /// Makes room for the cold code of one block. False: the region is full.
  [[nodiscard]] bool has_room();
  /// The region that is filled, and where `executable` lies.
  [[nodiscard]] usize region() const { return region_; }
  [[nodiscard]] usize region_of(const u8* executable) const {
    return (offset(executable) - kept_) / region_size_;
  }
  /// Regions with code, and the one that is filled: 0 .. held() - 1.
  [[nodiscard]] usize held() const { return held_; }
  [[nodiscard]] usize regions() const { return pool_ ? pool_->regions() : 0; }
  /// The region to fill next: a new one, or the oldest.
  [[nodiscard]] usize choose_next();
  /// Begins to fill a region: nothing there is needed any more.
  void enter(usize region);
  /// Whether others want what is held beyond keeping(), and that number.
  [[nodiscard]] bool wanted() const { return pool_ && pool_->wanted(held_); }
  [[nodiscard]] usize keeping() const { return pool_->share(); }
  /// Gives back all regions but the first `count`.
  void shrink(usize count);
  /// All regions are free.
  void reset();

  [[nodiscard]] const u8* executable(const u8* writable) const {
    return executable_ + (writable - writable_);
  }
  [[nodiscard]] u8* writable(const u8* executable) const {
    return writable_ + (executable - executable_);
  }
  [[nodiscard]] const u8* at(u32 place) const { return executable_ + place; }
  /// Where to write `bytes` of committed code.
  [[nodiscard]] u8* change(u32 place, usize bytes) {
    touch(place, bytes);
    return writable_ + place;
  }
  [[nodiscard]] u32 offset(const u8* executable) const {
    return static_cast<u32>(executable - executable_);
  }

  /// True when `pc` lies in any translated code of the process. Async-signal-safe.
  [[nodiscard]] static bool contains(u64 pc);

 private:
  void touch(usize place, usize bytes) {
    for (usize page = place >> page_shift; bytes && page <= (place + bytes - 1) >> page_shift; ++page) {
      if (touched_[page]) continue;
      touched_[page] = true;
      ++count_touched_;
    }
    if (count_touched_ > most_touched_) [[unlikely]] let_go();
  }
  void let_go();

  CodePool* const pool_;
  UniqueFd fd_;
  u8* writable_ = nullptr;
  const u8* executable_ = nullptr;
  static constexpr usize kept_room = 16 << 10;
  static constexpr usize cold_chunk = 32 << 10;
  /// More than any block's code needs.
  static constexpr usize cold_reserve = 8 << 10, hot_reserve = 16 << 10;
  const usize code_bytes_;  ///< of a region
  const usize most_touched_;  ///< pages of the writable mapping that may be resident
  usize size_, used_ = 0;
  usize kept_ = 0, region_size_ = size_, region_ = 0, held_ = 1;
  std::vector<bool> touched_;  ///< pages of the writable mapping
  usize count_touched_ = 0;
  usize cold_floor_ = size_;                     ///< cold chunks of the region lie from here on
  usize cold_used_ = size_, cold_limit_ = size_; ///< of the chunk in use
};

}  // namespace bhyve::soft
