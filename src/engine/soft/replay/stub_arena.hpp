#pragma once
#include <memory>
#include <span>

#include "base/types.hpp"

namespace bhyve::soft {

struct ReplayPlan;

/// Executable memory for replay stubs: one memfd mapped twice, writable here and executable there,
/// never both at one address (architecture decision 14). Stubs are immutable once published and
/// shared by content: however much the guest's code changes, there are only so many instructions.
/// Thread safety: all members from any thread.
class StubArena final {
 public:
  StubArena();
  ~StubArena();
  StubArena(const StubArena&) = delete;
  StubArena& operator=(const StubArena&) = delete;

  /// The plan equal to `wanted` with a stub of exactly this position-independent code, made or
  /// found; it lives as long as the arena. nullptr when the arena is full (64 MiB of distinct
  /// instructions): the caller then has no way to execute it.
  [[nodiscard]] const ReplayPlan* publish(const ReplayPlan& wanted, std::span<const u8> code);

  /// True when `pc` lies in any arena of the process: a synchronous signal came from a replayed
  /// instruction. Async-signal-safe.
  [[nodiscard]] static bool contains(u64 pc);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bhyve::soft
