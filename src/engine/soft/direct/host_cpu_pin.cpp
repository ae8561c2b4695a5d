#include "engine/soft/direct/host_cpu_pin.hpp"

#include <x86intrin.h>

namespace bhyve::soft {

namespace {
constexpr u64 old_age = 100'000'000;  // ticks: tens of milliseconds

bool bind(pid_t process, int cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  return ::sched_setaffinity(process, sizeof one, &one) == 0;
}

}

void HostCpuPin::hold(pid_t process) {
  if (is_old()) return release();
  if (!held_) {
    const int here = ::sched_getcpu();
    if (here < 0 || ::sched_getaffinity(0, sizeof before_, &before_) != 0) return;
    if (!bind(0, here)) return;
    held_ = true;
    since_ = __rdtsc();
    cpu_ = here;
  }
  if (process == process_) return;
  if (bind(process, cpu_)) process_ = process;
}

void HostCpuPin::release() {
  if (!held_) return;
  held_ = false;
  if (process_ != -1) ::sched_setaffinity(process_, sizeof before_, &before_);
  process_ = -1;
  cpu_set_t now;
  // Somebody else may have bound the thread meanwhile.
  if (::sched_getaffinity(0, sizeof now, &now) == 0 && CPU_COUNT(&now) == 1 && CPU_ISSET(cpu_, &now))
    ::sched_setaffinity(0, sizeof before_, &before_);
}

bool HostCpuPin::is_old() const { return held_ && __rdtsc() - since_ > old_age; }

}  // namespace bhyve::soft
