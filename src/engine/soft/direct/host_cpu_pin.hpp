#pragma once
#include <sched.h>
#include <sys/types.h>

#include "base/types.hpp"

namespace bhyve::soft {

/// Keeps the calling thread and a process that takes turns with it on one CPU of the host: waking each other
/// across CPUs costs ten times as much. Now and then both are free for a turn, so that the host can balance its
/// load: it may have put two such pairs on one CPU.
/// Owner: the thread.
class HostCpuPin final {
 public:
  ~HostCpuPin() { release(); }
  /// The next turn is the process's: both stay where the thread is.
  void hold(pid_t process);
  /// They may run where the thread might before.
  void release();

 private:
  [[nodiscard]] bool is_old() const;

  bool held_ = false;
  int cpu_ = -1;
  pid_t process_ = -1;  ///< that was last put on `cpu_`
  u64 since_ = 0;       ///< TSC
  cpu_set_t before_{};
};

}  // namespace bhyve::soft
