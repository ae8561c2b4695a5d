#include "base/confinement.hpp"

#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#include <cstring>
#include <memory>
#include <span>

namespace bhyve {

namespace {

// Descriptors that are open: reading, writing and waiting.
constexpr int on_descriptors[] = {
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64),
    SCMP_SYS(pwrite64), SCMP_SYS(preadv), SCMP_SYS(pwritev), SCMP_SYS(preadv2), SCMP_SYS(pwritev2),
    SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(shutdown),
    SCMP_SYS(getsockopt), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2), SCMP_SYS(epoll_ctl), SCMP_SYS(close),
    SCMP_SYS(fcntl), SCMP_SYS(fstat), SCMP_SYS(lseek), SCMP_SYS(ftruncate), SCMP_SYS(fallocate),
    SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(eventfd2), SCMP_SYS(timerfd_settime),
    SCMP_SYS(timerfd_gettime)};

// Memory (mmap and mprotect have their own rules), threads as they run and end, signals, time.
constexpr int on_oneself[] = {
    SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(mincore), SCMP_SYS(brk),
    SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(membarrier),
    SCMP_SYS(sched_yield), SCMP_SYS(sched_setattr), SCMP_SYS(sched_getattr), SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_setaffinity), SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(tgkill),
    SCMP_SYS(getcpu), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction),
    SCMP_SYS(sigaltstack), SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres),
    SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday),
    SCMP_SYS(restart_syscall), SCMP_SYS(getrandom), SCMP_SYS(exit), SCMP_SYS(exit_group)};

// New threads put on their own, narrower filter.
constexpr int of_events[] = {SCMP_SYS(accept4), SCMP_SYS(setsockopt), SCMP_SYS(geteuid),
                             SCMP_SYS(seccomp)};

// The VM's directory and what else is left at the end.
constexpr int of_caller[] = {
    SCMP_SYS(openat), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(getdents64),
    SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(rmdir), SCMP_SYS(rename), SCMP_SYS(renameat),
    SCMP_SYS(renameat2), SCMP_SYS(mkdirat), SCMP_SYS(fchmod), SCMP_SYS(flock),
    SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(access), SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2), SCMP_SYS(getuid), SCMP_SYS(umask), SCMP_SYS(dup), SCMP_SYS(copy_file_range)};

// Terminals' modes and breaks, and how much is there to read: not TIOCSTI, which types for the user.
constexpr unsigned long terminal_requests[] = {TCGETS,    TCSETS,    TCSETSW,   TCSETSF, TIOCGWINSZ,
                                               TIOCGPTN,  FIONREAD,  FIONBIO,   TCSBRK,  TCFLSH,
                                               TIOCSBRK,  TIOCCBRK,  TIOCMGET,  TIOCMSET,
                                               TIOCMBIS,  TIOCMBIC,  TIOCOUTQ};

constexpr int own_prctls[] = {PR_SET_NAME, PR_SET_NO_NEW_PRIVS};

// Of processes that are traced: PTRACE_ATTACH and PTRACE_SEIZE would make others so.
constexpr u64 of_tracers[] = {PTRACE_CONT,        PTRACE_SYSEMU,     PTRACE_GETREGS,   PTRACE_SETREGS,
                              PTRACE_GETREGSET,   PTRACE_SETREGSET,  PTRACE_GETSIGINFO,
                              PTRACE_GETEVENTMSG, PTRACE_SETOPTIONS, PTRACE_DETACH};

class Filter final {
 public:
  Filter() : context_(::seccomp_init(SCMP_ACT_ERRNO(EPERM)), ::seccomp_release) {}

  void allow(std::span<const int> calls) {
    for (const int call : calls) note(::seccomp_rule_add(context_.get(), SCMP_ACT_ALLOW, call, 0));
  }
  template <class... Conditions>
  void allow_if(int call, const Conditions&... conditions) {
    const scmp_arg_cmp all[] = {conditions...};
    note(::seccomp_rule_add_array(context_.get(), SCMP_ACT_ALLOW, call, sizeof...(conditions), all));
  }
  void refuse(int call, int error) {
    note(::seccomp_rule_add(context_.get(), SCMP_ACT_ERRNO(static_cast<u32>(error)), call, 0));
  }
  /// 0, or the first error, negative.
  [[nodiscard]] int load() {
    if (!context_) return -ENOMEM;
    if (error_ == 0) note(::seccomp_load(context_.get()));
    return error_;
  }

 private:
  void note(int result) {
    if (error_ == 0) error_ = result;
  }
  std::unique_ptr<void, void (*)(scmp_filter_ctx)> context_;
  int error_ = 0;
};

scmp_arg_cmp masked(unsigned argument, u64 mask, u64 value) {
  return {argument, SCMP_CMP_MASKED_EQ, mask, value};
}
scmp_arg_cmp equal(unsigned argument, u64 value) { return {argument, SCMP_CMP_EQ, value, 0}; }

void add_rules(Filter& filter, Confinement kind, int traced) {
  filter.allow(on_descriptors);
  filter.allow(on_oneself);
  filter.allow_if(SCMP_SYS(mmap), masked(2, PROT_EXEC, 0));
  filter.allow_if(SCMP_SYS(mprotect), masked(2, PROT_EXEC, 0));
  for (const auto request : terminal_requests) filter.allow_if(SCMP_SYS(ioctl), equal(1, request));
  for (const int option : own_prctls)
    filter.allow_if(SCMP_SYS(prctl), equal(0, static_cast<u64>(option)));
  if (kind == Confinement::worker) return;
  filter.allow_if(SCMP_SYS(wait4), equal(3, 0));
  for (const u64 request : of_tracers) filter.allow_if(SCMP_SYS(ptrace), equal(0, request));
  if (traced) filter.allow_if(SCMP_SYS(ptrace), equal(0, PTRACE_ATTACH), equal(1, static_cast<u64>(traced)));
  if (kind == Confinement::vcpu) return;
  filter.allow(of_events);
  // Threads, no processes. clone3 has its flags in memory, where no filter sees them: glibc makes do
  // with clone when there is none.
  filter.refuse(SCMP_SYS(clone3), ENOSYS);
  filter.allow_if(SCMP_SYS(clone), masked(0, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_VM));
  if (kind == Confinement::events) return;
  filter.allow(of_caller);
}

}  // namespace

bool confinement_is_built_in() noexcept {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return false;
#else
  return true;
#endif
}

Result<void> confine_this_thread(Confinement kind, int traced) {
  if (!confinement_is_built_in()) return {};
  Filter filter;
  add_rules(filter, kind, traced);
  if (const int result = filter.load(); result != 0)
    return fail(-result, "no seccomp filter for a thread: {}; process.seccomp=false runs without",
                std::strerror(-result));
  return {};
}

}  // namespace bhyve
