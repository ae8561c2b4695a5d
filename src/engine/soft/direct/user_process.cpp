#include "engine/soft/direct/user_process.hpp"

#include <asm/prctl.h>
#include <elf.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace bhyve::soft {

namespace {

static_assert(sizeof(UserProcess::Command) == 56, "the code of user_nursery.cpp reads them");
constexpr usize commands_at_once = UserProcess::commands_bytes / sizeof(UserProcess::Command);
constexpr usize xstate_most = 16384;
constexpr usize header_at = 512, header_bytes = 64, software_at = 464;

}  // namespace

long trace_process(int request, pid_t pid, u64 address, void* data) {
  return ::syscall(SYS_ptrace, request, pid, address, data);
}

bool wait_for_stop(pid_t pid, int& status) {
  for (;;) {
    const long got = ::syscall(SYS_wait4, pid, &status, __WALL, nullptr);
    if (got == pid) return WIFSTOPPED(status);
    if (got < 0 && errno != EINTR) return false;
  }
}

UserProcess::UserProcess(pid_t pid, int memory, std::byte* commands, const user_regs_struct& registers,
                         u64 flags_code)
    : pid_(pid), memory_(memory), commands_page_(commands), base_(registers), flags_code_(flags_code) {
  xstate_.resize(xstate_most);
  iovec all{xstate_.data(), xstate_.size()};
  xstate_.resize(trace_process(PTRACE_GETREGSET, pid_, NT_X86_XSTATE, &all) == 0 ? all.iov_len : 0);
}

UserProcess::~UserProcess() {
  ::syscall(SYS_tgkill, pid_, pid_, SIGKILL);
  int status = 0;
  while (wait_for_stop(pid_, status)) {
  }
}

bool UserProcess::run_own(user_regs_struct& registers) {
  if (trace_process(PTRACE_SETREGS, pid_, 0, &registers) != 0) return false;
  for (;;) {
    int status = 0;
    if (trace_process(PTRACE_CONT, pid_, 0, nullptr) != 0 || !wait_for_stop(pid_, status)) return false;
    if (trace_process(PTRACE_GETREGS, pid_, 0, &registers) != 0) return false;
    if (WSTOPSIG(status) == SIGTRAP) return true;
    if (WSTOPSIG(status) == SIGSEGV) return false;  // our code cannot go on
    // Else a kick: who sent it knows that run() may not have begun.
  }
}

/// Users may change the flag, tracers may not.
bool UserProcess::clear_id() {
  constexpr u64 flags = 0x202;
  std::memcpy(commands_page_, &flags, sizeof flags);
  user_regs_struct r = base_;
  r.rip = flags_code_, r.rsp = commands_at;
  id_ = false;
  return run_own(r);
}

/// Code called the host's vsyscall page, whose calls the filter refuses: the host's kernel has returned from it.
/// (RAX, which is the result's, is the call's number by now.)
void UserProcess::undo_vsyscall(user_regs_struct& registers, u64 entry) {
  registers.rip = entry;
  registers.rsp -= sizeof(u64);
}

void UserProcess::map(u64 linear, u64 bytes, u64 offset, bool writable, bool executable) {
  const u64 prot = PROT_READ | (writable ? PROT_WRITE : 0) | (executable ? PROT_EXEC : 0);
  commands_.push_back({SYS_mmap,
                       {linear, bytes, prot, MAP_SHARED | MAP_FIXED | MAP_POPULATE,
                        static_cast<u64>(memory_), offset}});
}

void UserProcess::unmap(u64 linear, u64 bytes) { commands_.push_back({SYS_munmap, {linear, bytes, 0, 0, 0, 0}}); }

void UserProcess::let_cpuid_fault(bool faults) {
  commands_.push_back({SYS_arch_prctl, {ARCH_SET_CPUID, faults ? 0u : 1u, 0, 0, 0, 0}});
}

bool UserProcess::cpuid_can_fault() {
  // Setting what is set already: ENODEV where the processor cannot.
  static const bool can = ::syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1) == 0;
  return can;
}

bool UserProcess::apply() {
  if (id_ && !clear_id()) return false;
  for (usize done = 0; done < commands_.size();) {
    const usize now = std::min(commands_.size() - done, commands_at_once);
    std::memcpy(commands_page_, commands_.data() + done, now * sizeof(Command));
    user_regs_struct r = base_;
    r.rip = service_begin, r.rbx = commands_at, r.r12 = now;
    const bool ok = run_own(r) && r.r12 == 0;
    std::memset(commands_page_, 0, now * sizeof(Command));  // guest-physical addresses: not for users
    if (!ok) {
      commands_.clear();
      return false;
    }
    done += now;
  }
  commands_.clear();
  return true;
}

bool UserProcess::take_over(std::span<const u8> area) {
  // The bytes behind the legacy region are the kernel's, and tell nothing when they come in.
  std::memcpy(xstate_.data(), area.data(), software_at);
  std::memcpy(xstate_.data() + header_at, area.data() + header_at, std::min(area.size(), xstate_.size()) - header_at);
  std::memset(xstate_.data() + header_at + 8, 0, header_bytes - 8);
  iovec all{xstate_.data(), xstate_.size()};
  return trace_process(PTRACE_SETREGSET, pid_, NT_X86_XSTATE, &all) == 0;
}

bool UserProcess::bring_back(std::span<u8> area) {
  iovec all{xstate_.data(), xstate_.size()};
  if (trace_process(PTRACE_GETREGSET, pid_, NT_X86_XSTATE, &all) != 0) return false;
  constexpr usize legacy_bytes = 416;
  std::memcpy(area.data(), xstate_.data(), legacy_bytes);
  std::memcpy(area.data() + header_at, xstate_.data() + header_at, std::min(area.size(), xstate_.size()) - header_at);
  return true;
}

UserProcess::Stop UserProcess::run(user_regs_struct& registers) {
  registers.cs = base_.cs, registers.ss = base_.ss;
  registers.ds = registers.es = registers.fs = registers.gs = 0;
  registers.orig_rax = ~0ull;
  int status = 0;
  if (trace_process(PTRACE_SETREGS, pid_, 0, &registers) != 0 ||
      trace_process(PTRACE_SYSEMU, pid_, 0, nullptr) != 0 || !wait_for_stop(pid_, status) ||
      trace_process(PTRACE_GETREGS, pid_, 0, &registers) != 0)
    return {};
  constexpr u64 id = u64{1} << 21;
  id_ = registers.eflags & id;
  Stop stop;
  stop.signal = WSTOPSIG(status);
  if (stop.signal == (SIGTRAP | 0x80)) {
    stop.why = Why::syscall;
    registers.rax = registers.orig_rax;
  } else if (stop.signal == SIGSEGV || stop.signal == SIGTRAP || stop.signal == SIGBUS ||
             stop.signal == SIGILL || stop.signal == SIGFPE || stop.signal == SIGSYS) {
    siginfo_t info{};
    if (trace_process(PTRACE_GETSIGINFO, pid_, 0, &info) != 0) return {};
    stop.why = info.si_code > 0 ? Why::signal : Why::kicked;  // not what a process sent
    stop.code = info.si_code;
    stop.address = reinterpret_cast<u64>(info.si_addr);
    if (stop.signal == SIGSYS && stop.why == Why::signal) undo_vsyscall(registers, reinterpret_cast<u64>(info.si_call_addr));
  } else {
    stop.why = Why::kicked;
  }
  return stop;
}

void UserProcess::kick(pid_t pid) noexcept { ::syscall(SYS_tgkill, pid, pid, SIGUSR1); }

}  // namespace bhyve::soft
