#pragma once
#include "base/fd.hpp"
#include "base/types.hpp"

namespace bhyve::soft {

/// Memory for translated code: one memfd mapped twice, writable here and executable there, never both
/// at one address (architecture decision 14). Hot code grows upward, cold code lies in chunks that are taken
/// from the end: so that hot code is dense. There is no free but reset().
/// Owner: the vCPU's thread; contains() from any.
class CodeCache final {
 public:
  explicit CodeCache(usize bytes);
  ~CodeCache();
  CodeCache(const CodeCache&) = delete;
  CodeCache& operator=(const CodeCache&) = delete;

  /// False when the host gave no executable memory.
  [[nodiscard]] bool usable() const { return executable_ != nullptr; }
  [[nodiscard]] u8* begin() const { return writable_ + used_; }
  [[nodiscard]] u8* end() const { return writable_ + cold_floor_; }
  [[nodiscard]] u8* cold_begin() const { return writable_ + cold_used_; }
  [[nodiscard]] u8* cold_end() const { return writable_ + cold_limit_; }
  [[nodiscard]] usize used() const { return used_; }
  [[nodiscard]] usize size() const { return size_; }
  /// Bytes that are taken, cold ones by the chunk.
  [[nodiscard]] usize in_use() const { return used_ + (size_ - cold_floor_); }
  /// Takes what was written from begin() on.
  void commit(usize bytes, usize cold_bytes = 0) {
    used_ += (bytes + 15) & ~usize{15};
    cold_used_ += cold_bytes;
  }
  /// Makes room for the cold code of one block. False: the cache is full.
  [[nodiscard]] bool has_room();
  /// Everything behind `keep` bytes is free again.
  void reset(usize keep) {
    used_ = keep;
    cold_floor_ = cold_used_ = cold_limit_ = size_;
  }

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
  UniqueFd fd_;
  u8* writable_ = nullptr;
  const u8* executable_ = nullptr;
  static constexpr usize cold_chunk = 64 << 10, cold_reserve = 16 << 10, hot_reserve = 32 << 10;
  usize size_, used_ = 0;
  usize cold_floor_ = size_;                     ///< cold chunks lie from here on
  usize cold_used_ = size_, cold_limit_ = size_; ///< of the chunk in use
};

}  // namespace bhyve::soft
