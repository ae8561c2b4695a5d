#pragma once
#include <memory>
#include <mutex>
#include <span>

#include "base/error.hpp"
#include "base/types.hpp"

namespace bhyve::soft {

/// Executable memory for replay stubs: one memfd mapped twice, writable here and executable there,
/// never both at one address (architecture decision 14). Stubs are immutable once published and are
/// shared by instruction content, so that the arena stays small.
/// Thread safety: all members from any thread.
class StubArena final {
 public:
  StubArena();
  ~StubArena();
  StubArena(const StubArena&) = delete;
  StubArena& operator=(const StubArena&) = delete;

  /// The executable address of a stub with exactly these bytes (position-independent code), made or
  /// found. nullptr when the arena is full: the caller's instruction is #UD then... or evicted.
  [[nodiscard]] const void* publish(std::span<const u8> code);
  /// True when `pc` lies in the arena: a synchronous signal came from a replayed instruction.
  [[nodiscard]] bool contains(const void* pc) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bhyve::soft
