#include "engine/soft/direct/user_nursery.hpp"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>

namespace bhyve::soft {

// Executed in the processes, where there is no stack. First the commands at RBX, R12 of them, until one fails.
// Behind their breakpoint, what sets RFLAGS to what RSP points to: PTRACE_SETREGS leaves ID as it is.
// Then how the nursery begins, up to R13 and from R14 on R15 bytes are unmapped, descriptor EBX says that it is
// ready; and what it does for ever.
asm(R"(
  .pushsection .rodata
  .balign 16
bhyve_user_commands:
  movq (%rbx), %rax
  movq 8(%rbx), %rdi
  movq 16(%rbx), %rsi
  movq 24(%rbx), %rdx
  movq 32(%rbx), %r10
  movq 40(%rbx), %r8
  movq 48(%rbx), %r9
  syscall
  cmpq $-4096, %rax
  ja 1f
  addq $56, %rbx
  decq %r12
  jnz bhyve_user_commands
1:
  int3
bhyve_user_flags:
  popfq
  int3
bhyve_user_nursery:
  movl $11, %eax          # munmap
  xorl %edi, %edi
  movq %r13, %rsi
  syscall
  movl $11, %eax
  movq %r14, %rdi
  movq %r15, %rsi
  syscall
  movl $3, %eax           # close
  movl %ebx, %edi
  syscall
bhyve_user_sleep:
  movl $34, %eax          # pause
  syscall
  jmp bhyve_user_sleep
bhyve_user_end:
  .popsection
)");
extern "C" const u8 bhyve_user_commands[], bhyve_user_flags[], bhyve_user_nursery[], bhyve_user_sleep[], bhyve_user_end[];

namespace {

u64 address_of(const u8* label) {
  return UserProcess::service_begin + static_cast<u64>(label - bhyve_user_commands);
}

/// All that a process may ask for; guest code does not come here, being stopped before (PTRACE_SYSEMU),
/// but for the host's vsyscall page.
void confine() {
  constexpr u32 allow = SECCOMP_RET_ALLOW, trap = SECCOMP_RET_TRAP;
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 7),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 6, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_munmap, 5, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pause, 4, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, trap),
      BPF_STMT(BPF_RET | BPF_K, allow),
  };
  const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0)
    ::syscall(SYS_exit, 1);
}

void close_all_but(std::array<unsigned, 3> kept) {
  std::sort(kept.begin(), kept.end());
  unsigned next = 0;
  for (const unsigned fd : kept) {
    if (fd > next) ::syscall(SYS_close_range, next, fd - 1, 0);
    next = fd + 1;
  }
  ::syscall(SYS_close_range, next, ~0u, 0);
}

#if defined(__SANITIZE_THREAD__)
constexpr int placed = MAP_FIXED;  // it reserves what it does not use
#else
constexpr int placed = MAP_FIXED_NOREPLACE;
#endif

/// The child of create(): one thread with a copy of all of ours.
[[noreturn]] void become_nursery(int memory, int service, int ready, pid_t parent) {
  const auto require = [](bool done) {
    if (!done) ::syscall(SYS_exit, 1);
  };
  const auto map = [service](u64 at, u64 bytes, int prot, u64 offset) {
    const long got = ::syscall(SYS_mmap, at, bytes, prot, MAP_SHARED | placed, service, offset);
    return static_cast<u64>(got) == at;
  };
  constexpr unsigned rseq_bytes = 32, unregister = 1;  // what glibc registers
  close_all_but({static_cast<unsigned>(memory), static_cast<unsigned>(service), static_cast<unsigned>(ready)});
  require(::syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 && ::syscall(SYS_getppid) == parent);
  require(__rseq_size == 0 ||
          ::syscall(SYS_rseq, static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset, rseq_bytes,
                    unregister, RSEQ_SIG) == 0);
  const stack_t no_stack{nullptr, SS_DISABLE, 0};
  const u64 no_signals = 0;
  const rlimit no_core{0, 0};
  ::syscall(SYS_sigaltstack, &no_stack, nullptr);
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, nullptr, sizeof no_signals);
  ::syscall(SYS_prlimit64, 0, RLIMIT_CORE, &no_core, nullptr);
  ::syscall(SYS_prctl, PR_SET_NAME, "guest user", 0, 0, 0);
  require(::syscall(SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0) == 0);
  require(map(UserProcess::service_begin, page_size, PROT_READ | PROT_EXEC, 0) &&
          map(UserProcess::commands_at, UserProcess::commands_bytes, PROT_READ, page_size));
  confine();
  const u64 begin = address_of(bhyve_user_nursery);
  asm volatile(
      "movq %[low], %%r13\n\tmovq %[from], %%r14\n\tmovq %[high], %%r15\n\tmovl %[ready], %%ebx\n\t"
      "xorl %%ecx, %%ecx\n\tmovw %%cx, %%ds\n\tmovw %%cx, %%es\n\tjmp *%[begin]"
      :
      : [low] "r"(UserProcess::service_begin), [from] "r"(UserProcess::service_end),
        [high] "r"(UserProcess::user_end - UserProcess::service_end), [begin] "a"(begin), [ready] "d"(ready)
      : "rbx", "rcx", "r13", "r14", "r15", "memory");
  __builtin_unreachable();
}

/// Each stop of a traced process would interrupt a thread that does not block the signal, to no purpose. A handler
/// that the program has is its own affair.
void want_no_signals_of_stops() {
  struct sigaction action{};
  if (::sigaction(SIGCHLD, nullptr, &action) != 0 || action.sa_handler != SIG_DFL) return;
  action.sa_flags |= SA_NOCLDSTOP;
  (void)::sigaction(SIGCHLD, &action, nullptr);
}

}  // namespace

Result<void> UserNursery::make_service(u32 vcpus) {
  service_bytes_ = page_size + (usize{vcpus} + 1) * UserProcess::commands_bytes;
  service_file_.reset(::memfd_create("bhyve-user", MFD_CLOEXEC));
  if (!service_file_ || ::ftruncate(service_file_.get(), static_cast<off_t>(service_bytes_)) != 0)
    return fail(errno, "no memory file for user code: {}", std::strerror(errno));
  void* at = ::mmap(nullptr, service_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, service_file_.get(), 0);
  if (at == MAP_FAILED) return fail(errno, "no memory for user code: {}", std::strerror(errno));
  service_ = static_cast<std::byte*>(at);
  std::memcpy(service_, bhyve_user_commands, static_cast<usize>(bhyve_user_end - bhyve_user_commands));
  return {};
}

Result<std::unique_ptr<UserNursery>> UserNursery::create(int ram, u32 vcpus) {
  want_no_signals_of_stops();
  std::unique_ptr<UserNursery> made(new UserNursery(ram));
  if (auto ok = made->make_service(vcpus); !ok) return tl::make_unexpected(ok.error());
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(errno, "no pipe: {}", std::strerror(errno));
  const UniqueFd readable(ends[0]);
  UniqueFd ready(ends[1]);
  const pid_t self = ::getpid();
  const long pid = ::syscall(SYS_clone, 0, nullptr, nullptr, nullptr, nullptr);
  if (pid == 0) become_nursery(ram, made->service_file_.get(), ready.get(), self);
  if (pid < 0) return fail(errno, "no process for user code: {}", std::strerror(errno));
  made->pid_ = static_cast<pid_t>(pid);
  ready.reset();
  char nothing = 0;
  while (::read(readable.get(), &nothing, 1) < 0 && errno == EINTR) {  // the end of the pipe says so
  }
  (void)UserProcess::cpuid_can_fault();
  if (auto first = made->spawn(0); !first) return tl::make_unexpected(first.error());
  return made;
}

UserNursery::~UserNursery() {
  if (pid_ > 0) {
    ::syscall(SYS_tgkill, pid_, pid_, SIGKILL);
    int status = 0;
    (void)wait_for_stop(pid_, status);
  }
  if (service_) ::munmap(service_, service_bytes_);
}

bool UserNursery::attach(user_regs_struct& registers) {
  int status = 0;
  return trace_process(PTRACE_ATTACH, pid_, 0, nullptr) == 0 && wait_for_stop(pid_, status) &&
         trace_process(PTRACE_SETOPTIONS, pid_, 0,
                       reinterpret_cast<void*>(PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE |
                                               PTRACE_O_TRACESYSGOOD)) == 0 &&
         trace_process(PTRACE_GETREGS, pid_, 0, &registers) == 0;
}

/// Back to sleep.
void UserNursery::detach(const user_regs_struct& registers) {
  user_regs_struct r = registers;
  r.rip = address_of(bhyve_user_sleep);
  if (trace_process(PTRACE_SETREGS, pid_, 0, &r) == 0) (void)trace_process(PTRACE_DETACH, pid_, 0, nullptr);
}

/// Has the nursery copy itself: the copy reads the vCPU's commands and stands at the breakpoint. -1: failed.
pid_t UserNursery::copy(const user_regs_struct& registers, VcpuId vcpu) {
  const UserProcess::Command fork{SYS_clone, {CLONE_PARENT, 0, 0, 0, 0, 0}};
  std::memcpy(commands(0), &fork, sizeof fork);
  user_regs_struct r = registers;
  r.rip = UserProcess::service_begin, r.rbx = UserProcess::commands_at, r.r12 = 1;
  int status = 0;
  u64 made = 0;
  if (trace_process(PTRACE_SETREGS, pid_, 0, &r) != 0 ||
      trace_process(PTRACE_CONT, pid_, 0, nullptr) != 0 || !wait_for_stop(pid_, status) ||
      status >> 8 != (SIGTRAP | PTRACE_EVENT_CLONE << 8) ||
      trace_process(PTRACE_GETEVENTMSG, pid_, 0, &made) != 0)
    return -1;
  const auto copy = static_cast<pid_t>(made);
  const auto runs_to = [&status](pid_t pid, int signal) {
    return trace_process(PTRACE_CONT, pid, 0, nullptr) == 0 && wait_for_stop(pid, status) &&
           WSTOPSIG(status) == signal;
  };
  // The nursery comes to its breakpoint, the copy to the stop that it is born with, then to its own. Then it
  // alone has the vCPU's commands shown.
  bool ok = runs_to(pid_, SIGTRAP) && wait_for_stop(copy, status) && WSTOPSIG(status) == SIGSTOP &&
            runs_to(copy, SIGTRAP);
  const u64 offset = page_size + (u64{vcpu} + 1) * UserProcess::commands_bytes;
  const UserProcess::Command own{SYS_mmap,
                                 {UserProcess::commands_at, UserProcess::commands_bytes, PROT_READ,
                                  MAP_SHARED | MAP_FIXED, static_cast<u64>(service_file_.get()), offset}};
  std::memcpy(commands(0), &own, sizeof own);
  ok = ok && trace_process(PTRACE_SETREGS, copy, 0, &r) == 0 && runs_to(copy, SIGTRAP);
  if (ok) return copy;
  ::syscall(SYS_tgkill, copy, copy, SIGKILL);
  return -1;
}

Result<std::unique_ptr<UserProcess>> UserNursery::spawn(VcpuId vcpu) {
  const std::lock_guard lock(mutex_);
  user_regs_struct registers{};
  if (!attach(registers)) return fail(EPERM, "the host does not let user code be traced");
  registers.orig_rax = ~0ull;
  const pid_t pid = copy(registers, vcpu);
  detach(registers);
  if (pid < 0) return fail(EPERM, "the host makes no process for user code");
  registers.ds = registers.es = registers.fs = registers.gs = 0;
  registers.fs_base = registers.gs_base = 0;
  return std::make_unique<UserProcess>(pid, memory_, commands(vcpu + 1), registers,
                                       address_of(bhyve_user_flags));
}

}  // namespace bhyve::soft
