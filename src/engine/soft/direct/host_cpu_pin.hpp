#pragma once
#include <sched.h>
#include <sys/types.h>

#include "base/types.hpp"

namespace bhyve::soft {

/// Keeps the calling thread and a process that takes turns with it on one CPU of the host: waking each other
/// across CPUs costs ten times as much. Let go now and then, so that the host may balance its load.
/// Owner: the thread.
class HostCpuPin final {
 public:
  ~HostCpuPin() { release(); }
  /// Both run where the thread is from here on.
  void hold(pid_t process);
  /// The thread may run where it might before.
  void release();
  /// Time for a release() has come.
  [[nodiscard]] bool is_old() const;

 private:
  bool held_ = false;
  int cpu_ = -1;
  pid_t process_ = -1;  ///< that was last put on `cpu_`
  u64 since_ = 0;       ///< TSC
  cpu_set_t before_{};
};

}  // namespace bhyve::soft
