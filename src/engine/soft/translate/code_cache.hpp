#pragma once
#include "base/fd.hpp"
#include "base/types.hpp"
#include "engine/soft/translate/code_pool.hpp"

namespace bhyve::soft {

/// Memory for translated code: one memfd mapped twice, writable here and executable there, never both
/// at one address (architecture decision 14). What is committed first (keep()) stays; the rest is regions of
/// a CodePool, as many as it lets this vCPU have, that are filled one after another, round and round. In a
/// region hot code grows upward, cold code lies in chunks that are taken from its end: so that hot code is dense.
/// Owner: the vCPU's thread; contains() from any.
class CodeCache final {
 public:
  /// Without a pool there is no memory.
  explicit CodeCache(CodePool* pool);
  ~CodeCache();
  CodeCache(const CodeCache&) = delete;
  CodeCache& operator=(const CodeCache&) = delete;

  /// False when the host gave no executable memory.
  [[nodiscard]] bool usable() const { return executable_ != nullptr; }
  [[nodiscard]] u8* begin() const { return writable_ + used_; }
  [[nodiscard]] u8* end() const { return writable_ + cold_floor_; }
  [[nodiscard]] u8* cold_begin() const { return writable_ + cold_used_; }
  [[nodiscard]] u8* cold_end() const { return writable_ + cold_limit_; }
  /// Bytes that are taken, cold ones by the chunk.
  [[nodiscard]] usize in_use() const {
    return kept_ + held_ * region_size_ - (cold_floor_ - used_);
  }
  /// Takes what was written from begin() on.
  void commit(usize bytes, usize cold_bytes = 0) {
    used_ += (bytes + 15) & ~usize{15};
    cold_used_ += cold_bytes;
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
  [[nodiscard]] usize offset(const u8* executable) const {
    return static_cast<usize>(executable - executable_);
  }

  /// True when `pc` lies in any translated code of the process. Async-signal-safe.
  [[nodiscard]] static bool contains(u64 pc);

 private:
  CodePool* const pool_;
  UniqueFd fd_;
  u8* writable_ = nullptr;
  const u8* executable_ = nullptr;
  static constexpr usize kept_room = 16 << 10;
  static constexpr usize cold_chunk = 32 << 10;
  /// More than any block's code needs.
  static constexpr usize cold_reserve = 8 << 10, hot_reserve = 16 << 10;
  usize size_, used_ = 0;
  usize kept_ = 0, region_size_ = size_, region_ = 0, held_ = 1;
  usize cold_floor_ = size_;                     ///< cold chunks of the region lie from here on
  usize cold_used_ = size_, cold_limit_ = size_; ///< of the chunk in use
};

}  // namespace bhyve::soft
