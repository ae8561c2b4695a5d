#pragma once
#include "base/fd.hpp"
#include "base/types.hpp"

namespace bhyve::soft {

/// Memory for translated code: one memfd mapped twice, writable here and executable there, never both
/// at one address (architecture decision 14). Allocation is a bump; there is no free but reset().
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
  [[nodiscard]] u8* end() const { return writable_ + size_; }
  [[nodiscard]] usize used() const { return used_; }
  [[nodiscard]] usize size() const { return size_; }
  /// Takes what was written from begin() on.
  void commit(usize bytes) { used_ += (bytes + 15) & ~usize{15}; }
  /// Everything behind `keep` bytes is free again.
  void reset(usize keep) { used_ = keep; }

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
  usize size_, used_ = 0;
};

}  // namespace bhyve::soft
