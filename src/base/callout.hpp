#pragma once
#include <functional>
#include <memory>

#include "base/clock.hpp"
#include "base/types.hpp"

namespace bhyve {

class CalloutWheel;

/// A timer in the spirit of FreeBSD's callout(9). One deadline at a time. The function runs on the
/// wheel's thread, on the thread that calls CalloutWheel::run_due() for the owner it is bound to, or,
/// when it is late, on one that calls CalloutWheel::run_overdue().
/// It runs without any wheel lock held, never twice at the same time, and may arm itself again.
/// Thread safety: every member may be called from any thread, except that drain() and the
/// destructor must not be called from the function itself nor with a lock that the function takes.
class Callout final {
 public:
  using Function = std::function<void()>;
  /// Sentinel for "not bound to a vCPU".
  static constexpr u32 unbound = ~u32{0};

  Callout(CalloutWheel& wheel, Function function, u32 owner = unbound);
  ~Callout();  ///< drains
  Callout(const Callout&) = delete;
  Callout& operator=(const Callout&) = delete;

  /// Fires once at `deadline` (monotonic); replaces an earlier deadline. `never` disarms.
  void arm(Nanos deadline);
  /// Forgets the deadline. The function may still be running when this returns.
  void disarm();
  /// Forgets the deadline and waits until the function is not running. Arming while a thread waits
  /// here is forgotten too, so a function that arms itself ends.
  void drain();
  [[nodiscard]] bool armed() const;

 private:
  friend class CalloutWheel;
  struct Node;
  CalloutWheel& wheel_;
  std::unique_ptr<Node> node_;
};

/// All callouts of one VM and the thread that runs those which nobody else waits for. A vCPU that
/// goes to sleep claims the callouts bound to it, waits until the earliest itself and runs them on
/// its own thread, which saves a second wake-up (architecture decision 12).
class CalloutWheel final {
 public:
  CalloutWheel();
  ~CalloutWheel();  ///< stops the thread; all callouts must be gone
  CalloutWheel(const CalloutWheel&) = delete;
  CalloutWheel& operator=(const CalloutWheel&) = delete;

  /// From now on the caller runs the callouts bound to `owner`. `wake` is called (any thread, no
  /// lock held) when the owner's earliest deadline moves earlier than the one last returned; a call
  /// that is under way may end shortly after unclaim(). Returns the earliest deadline or `never`.
  Nanos claim(u32 owner, std::function<void()> wake);
  /// Runs what is due for a claimed owner; returns its next deadline or `never`.
  Nanos run_due(u32 owner, Nanos now);
  /// Gives the owner's callouts back to the wheel's thread.
  void unclaim(u32 owner);
  /// Runs what the wheel's thread should have run by `now`, on the calling thread: on a busy host it
  /// may wait for its turn. Not if another thread is about it. Any thread that may call drain(). Costs
  /// a load when nothing is due.
  void run_overdue(Nanos now);

 private:
  friend class Callout;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bhyve
