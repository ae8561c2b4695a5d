#pragma once
#include <memory>
#include <span>

#include "base/types.hpp"

namespace bhyve::soft {

struct ReplayPlan;

/// Executable memory for replay stubs: one memfd mapped twice, writable here and executable there,
/// never both at one address (architecture decision 14). Stubs are immutable once published and
/// shared by content.
///
/// A guest can make more distinct instructions than fit, so stubs live in generations: two halves
/// take turns, each the home of one generation. Beginning a generation empties the half of the one
/// before the last; the last one's stubs stay as they are. Who uses the arena has to see that nobody
/// still holds a plan of the generation that goes (SoftVm::renew_stubs()).
/// Thread safety: all members from any thread.
class StubArena final {
 public:
  static constexpr usize default_bytes = 16 * MiB;

  /// Room for `bytes` of code (at most default_bytes), half of it for one generation.
  explicit StubArena(usize bytes = default_bytes);
  ~StubArena();
  StubArena(const StubArena&) = delete;
  StubArena& operator=(const StubArena&) = delete;

  /// The plan equal to `wanted` with a stub of exactly this position-independent code, made or
  /// found; it lives until the generation after the next begins. nullptr when the generation is full.
  [[nodiscard]] const ReplayPlan* publish(const ReplayPlan& wanted, std::span<const u8> code);

  /// The current generation, from 0.
  [[nodiscard]] u64 generation() const noexcept;
  /// Ends generation `current` and frees what the one before it published: no plan of that may be
  /// in use any more. Nothing happens when `current` is over already.
  void begin_next(u64 current);
  /// False on a host that gives no executable memory.
  [[nodiscard]] bool usable() const noexcept;

  /// True when `pc` lies in any arena of the process: a synchronous signal came from a replayed
  /// instruction. Async-signal-safe.
  [[nodiscard]] static bool contains(u64 pc);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bhyve::soft
