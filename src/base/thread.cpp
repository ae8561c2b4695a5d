#include "base/thread.hpp"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <utility>

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

namespace {

/// struct sched_attr of linux/sched/types.h, first version; glibc 2.36 has no wrappers.
struct SchedAttributes {
  u32 size = 48;
  u32 policy = SCHED_OTHER;
  u64 flags = 0;
  i32 nice = 0;
  u32 priority = 0;
  u64 runtime = 0;  ///< nanoseconds: the slice
  u64 deadline = 0, period = 0;
};
static_assert(sizeof(SchedAttributes) == 48);

constexpr u64 shortest_slice = 100'000;  // the least that the scheduler takes

/// Gives the calling thread slices of `slice`; what it had before, or nothing where slices mean nothing.
std::optional<u64> change_slice(u64 slice) {
  SchedAttributes now;
  if (::syscall(SYS_sched_getattr, 0, &now, sizeof now, 0) != 0 || now.policy != SCHED_OTHER)
    return std::nullopt;
  const u64 before = std::exchange(now.runtime, slice);
  now.size = sizeof now;
  if (before == slice || ::syscall(SYS_sched_setattr, 0, &now, 0) != 0) return std::nullopt;
  return before;
}

}  // namespace

void prefer_short_slices() { (void)change_slice(shortest_slice); }

ShortSlices::ShortSlices() : before_(change_slice(shortest_slice)) {}

ShortSlices::~ShortSlices() {
  if (before_) (void)change_slice(*before_);
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
