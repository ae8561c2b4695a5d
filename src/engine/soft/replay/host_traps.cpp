#include "engine/soft/replay/host_traps.hpp"

#include <sys/auxv.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <array>
#include <csignal>
#include <mutex>

#include "base/types.hpp"
#include "engine/soft/cpu.hpp"
#include "engine/soft/replay/stub_arena.hpp"
#include "engine/soft/translate/code_cache.hpp"
#include "mem/host_backing.hpp"

namespace bhyve::soft {

namespace {

constexpr int signals[] = {SIGFPE, SIGSEGV, SIGILL, SIGBUS};
struct sigaction previous[NSIG];

/// Stubs never move RSP, so at any instruction of a stub its return address is on top of the stack:
/// leaving it is what RET would do.
void on_trap(int signal, siginfo_t* info, void* context) {
  if (signal == SIGBUS && info->si_code == BUS_ADRERR &&
      mem::HostBacking::replace(reinterpret_cast<u64>(info->si_addr)))
    return;
  auto* regs = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  if (StubArena::contains(static_cast<u64>(regs[REG_RIP]))) {
    auto* sp = reinterpret_cast<u64*>(regs[REG_RSP]);
    regs[REG_RAX] = regs[REG_TRAPNO] + 1;
    regs[REG_RIP] = static_cast<greg_t>(*sp);
    regs[REG_RSP] += 8;
    return;
  }
  if (CodeCache::contains(static_cast<u64>(regs[REG_RIP]))) {  // RSP is the Cpu, nothing was pushed
    auto& cpu = *reinterpret_cast<Cpu*>(regs[REG_RSP]);
    cpu.translated.trap_pc = static_cast<u64>(regs[REG_RIP]);
    cpu.translated.trap_number = static_cast<u32>(regs[REG_TRAPNO]);
    regs[REG_RIP] = static_cast<greg_t>(reinterpret_cast<u64>(cpu.translated.trap_entry));
    return;
  }
  const struct sigaction& old = previous[signal];
  if ((old.sa_flags & SA_SIGINFO) && old.sa_sigaction) {
    old.sa_sigaction(signal, info, context);
    return;
  }
  ::sigaction(signal, &old, nullptr);  // the instruction faults again, now for good
}

/// A signal stack with a guard page below it, for the life of the thread.
class SignalStack final {
 public:
  SignalStack() {
    const usize minimum = ::getauxval(AT_MINSIGSTKSZ);
    size_ = ((minimum > 16384 ? minimum : 16384) + 16384 + page_mask) & ~page_mask;
    base_ = ::mmap(nullptr, size_ + page_size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (base_ == MAP_FAILED) return;
    ::mprotect(base_, page_size, PROT_NONE);
    stack_t stack{};
    stack.ss_sp = static_cast<char*>(base_) + page_size;
    stack.ss_size = size_;
    stack.ss_flags = static_cast<int>(1u << 31);  // SS_AUTODISARM
    ::sigaltstack(&stack, nullptr);
  }
  ~SignalStack() {
    if (base_ == MAP_FAILED) return;
    stack_t off{};
    off.ss_flags = SS_DISABLE;
    ::sigaltstack(&off, nullptr);
    ::munmap(base_, size_ + page_size);
  }
  SignalStack(const SignalStack&) = delete;
  SignalStack& operator=(const SignalStack&) = delete;

 private:
  void* base_ = MAP_FAILED;
  usize size_ = 0;
};

}  // namespace

void install_host_traps() {
  static std::once_flag once;
  std::call_once(once, [] {
    for (const int signal : signals) {
      struct sigaction action {};
      action.sa_sigaction = on_trap;
      action.sa_flags = SA_SIGINFO | SA_ONSTACK;
      ::sigaction(signal, &action, &previous[signal]);
    }
  });
}

void prepare_signal_stack() {
  // initial-exec: the same object serves the tools and libvmmapi.so.
  [[gnu::tls_model("initial-exec")]] thread_local const SignalStack stack;
  (void)stack;
}

}  // namespace bhyve::soft
