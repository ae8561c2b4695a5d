#include "base/thread.hpp"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include <fmt/ranges.h>

#include "base/types.hpp"

namespace bhyve {

void name_this_thread(std::string_view name) {
  constexpr usize kernel_limit = 15;
  ::pthread_setname_np(::pthread_self(), std::string(name.substr(0, kernel_limit)).c_str());
}

void block_async_signals() {
  sigset_t set;
  ::sigfillset(&set);
  for (const int synchronous : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP})
    ::sigdelset(&set, synchronous);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

void prefer_short_slices() {
  // struct sched_attr of linux/sched/types.h, first version; glibc 2.36 has no wrapper.
  struct {
    u32 size = 48;
    u32 policy = SCHED_OTHER;
    u64 flags = 0;
    i32 nice = 0;
    u32 priority = 0;
    u64 runtime = 100'000;  // nanoseconds; the least that the scheduler takes
    u64 deadline = 0, period = 0;
  } attributes;
  static_assert(sizeof attributes == 48);
  ::syscall(SYS_sched_setattr, 0, &attributes, 0);
}

Result<void> set_thread_affinity(pid_t thread, const std::vector<unsigned>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const unsigned cpu : cpus) {
    if (cpu >= CPU_SETSIZE)
      return fail(EINVAL, "host CPU {} is out of range, expected 0 to {}", cpu, CPU_SETSIZE - 1);
    CPU_SET(cpu, &set);
  }
  // By thread id and not by pthread_t: glibc 2.36 gives the one only of the calling thread.
  if (::sched_setaffinity(thread, sizeof set, &set) != 0)
    return fail(errno, "cannot bind a thread to host CPUs {}", fmt::join(cpus, ","));
  return {};
}

std::vector<unsigned> thread_affinity(pid_t thread) {
  std::vector<unsigned> out;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(thread, sizeof set, &set) != 0) return out;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) out.push_back(cpu);
  return out;
}

}  // namespace bhyve
