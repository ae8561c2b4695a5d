#pragma once
#include <atomic>

#include "base/fd.hpp"
#include "base/types.hpp"

namespace bhyve::mem {

/// A mapping of guest memory, whose pages the host gives on first touch and may then not have (limits
/// of memory or of shared memory): the access raises SIGBUS. Everything that touches guest memory
/// may meet it, so nothing can be undone; the handler puts an empty page in the place of the lost
/// one, remembers that, and whoever listens ends the VM.
/// Thread safety: made and destroyed by one thread; the rest from any.
class HostBacking final {
 public:
  HostBacking(void* base, u64 size);
  ~HostBacking();
  HostBacking(const HostBacking&) = delete;
  HostBacking& operator=(const HostBacking&) = delete;

  /// A page of it was replaced: its contents are gone.
  [[nodiscard]] bool lost() const noexcept;

  /// Of the SIGBUS handler. True: `address` lies in such a mapping, its page is replaced and the
  /// access may be repeated. Async-signal-safe.
  [[nodiscard]] static bool replace(u64 address) noexcept;

 private:
  unsigned slot_;
};

/// Becomes readable when a page of any mapping was replaced.
class LostBackingEvent final {
 public:
  LostBackingEvent();
  ~LostBackingEvent();
  LostBackingEvent(const LostBackingEvent&) = delete;
  LostBackingEvent& operator=(const LostBackingEvent&) = delete;

  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
};

}  // namespace bhyve::mem
