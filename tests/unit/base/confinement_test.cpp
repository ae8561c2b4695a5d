// Threads of a running VM keep only the system calls that they need. A filter goes with its thread.
#include "base/confinement.hpp"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fcntl.h>
#include <csignal>
#include <cerrno>
#include <functional>
#include <system_error>
#include <thread>

#include "base/fd.hpp"

namespace bhyve {
namespace {

class ConfinementTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!confinement_is_built_in()) GTEST_SKIP() << "no filters beside a sanitizer";
  }
  /// Runs `check` on a thread of its own kind.
  static void as(Confinement kind, const std::function<void()>& check, int traced = 0) {
    std::thread([&] {
      const auto confined = confine_this_thread(kind, traced);
      ASSERT_TRUE(confined) << confined.error().message;
      check();
    }).join();
  }
};

constexpr Confinement kinds[] = {Confinement::worker, Confinement::vcpu, Confinement::events,
                                 Confinement::caller};
constexpr Confinement tracers[] = {Confinement::vcpu, Confinement::events, Confinement::caller};

int error_of(long result) { return result < 0 ? errno : 0; }

int error_of_map(int protection) {
  void* p = ::mmap(nullptr, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return errno;
  ::munmap(p, 4096);
  return 0;
}

/// Sleeps until it is killed.
class Sleeper final {
 public:
  Sleeper() : pid_(::fork()) {
    if (pid_ == 0)
      for (;;) ::pause();
  }
  ~Sleeper() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  const pid_t pid_;
};

int error_of_trace(long request, pid_t pid) { return error_of(::syscall(SYS_ptrace, request, pid, nullptr, nullptr)); }

bool can_make_a_thread() {
  try {
    std::thread([] {}).join();
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

TEST_F(ConfinementTest, NobodyMakesMemoryExecutable) {
  for (const Confinement kind : kinds)
    as(kind, [] {
      EXPECT_EQ(error_of_map(PROT_READ | PROT_EXEC), EPERM);
      EXPECT_EQ(error_of_map(PROT_READ | PROT_WRITE), 0);
      void* p = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      ASSERT_NE(p, MAP_FAILED);
      EXPECT_EQ(error_of(::mprotect(p, 4096, PROT_READ | PROT_EXEC)), EPERM);
      EXPECT_EQ(error_of(::syscall(SYS_pkey_mprotect, p, 4096, PROT_READ | PROT_EXEC, -1)), EPERM);
      EXPECT_EQ(error_of(::mprotect(p, 4096, PROT_READ)), 0);
      ::munmap(p, 4096);
      EXPECT_EQ(error_of(::syscall(SYS_personality, 0x0400000)), EPERM) << "READ_IMPLIES_EXEC";
    });
}

TEST_F(ConfinementTest, NobodyStartsProcessesConnectsTracesOrTypes) {
  for (const Confinement kind : kinds)
    as(kind, [] {
      char name[] = "/bin/true";
      char* arguments[] = {name, nullptr};
      EXPECT_EQ(error_of(::execve(name, arguments, nullptr)), EPERM);
      const long child = ::syscall(SYS_fork);
      if (child == 0) ::_exit(0);
      EXPECT_EQ(error_of(child), EPERM);
      EXPECT_EQ(error_of(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, 0)), EPERM);
      EXPECT_EQ(error_of(::socket(AF_INET, SOCK_STREAM, 0)), EPERM);
      EXPECT_EQ(error_of(::syscall(SYS_ptrace, 0, 0, nullptr, nullptr)), EPERM);
      EXPECT_EQ(error_of(::syscall(SYS_process_vm_writev, ::getpid(), nullptr, 0, nullptr, 0, 0)),
                EPERM);
      EXPECT_EQ(error_of(::ioctl(0, TIOCSTI, "x")), EPERM);
      EXPECT_EQ(error_of(::syscall(SYS_ioctl, 0, TIOCSTI | 1ul << 32, "x")), EPERM);
    });
}

TEST_F(ConfinementTest, OnlyTheCallerOpensFiles) {
  for (const Confinement kind : kinds)
    as(kind, [kind] {
      const UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      const int error = fd ? 0 : errno;
      EXPECT_EQ(error, kind == Confinement::caller ? 0 : EPERM);
    });
}

TEST_F(ConfinementTest, WorkersTraceNothing) {
  const Sleeper sleeper;
  as(
      Confinement::worker,
      [&] {
        EXPECT_EQ(error_of_trace(PTRACE_ATTACH, sleeper.pid()), EPERM);
        EXPECT_EQ(error_of_trace(PTRACE_CONT, sleeper.pid()), EPERM);
        EXPECT_EQ(error_of(::syscall(SYS_wait4, sleeper.pid(), nullptr, WNOHANG, nullptr)), EPERM);
      },
      sleeper.pid());
}

TEST_F(ConfinementTest, TracersAttachToTheOneProcessAlone) {
  for (const Confinement kind : tracers) {
    const Sleeper ours, other;
    as(
        kind,
        [&] {
          EXPECT_EQ(error_of_trace(PTRACE_ATTACH, other.pid()), EPERM);
          EXPECT_EQ(error_of_trace(PTRACE_SEIZE, other.pid()), EPERM);
          EXPECT_EQ(error_of_trace(PTRACE_SEIZE, ours.pid()), EPERM);
          EXPECT_EQ(error_of_trace(PTRACE_CONT, other.pid()), ESRCH) << "it is not traced";
          ASSERT_EQ(error_of_trace(PTRACE_ATTACH, ours.pid()), 0);
          int status = 0;
          ASSERT_EQ(::syscall(SYS_wait4, ours.pid(), &status, __WALL, nullptr), ours.pid());
          EXPECT_TRUE(WIFSTOPPED(status));
          // Its memory is nobody's, what wait4() writes to `rusage` nobody needs.
          EXPECT_EQ(error_of_trace(PTRACE_PEEKDATA, ours.pid()), EPERM);
          EXPECT_EQ(error_of_trace(PTRACE_POKEDATA, ours.pid()), EPERM);
          EXPECT_EQ(error_of_trace(PTRACE_SECCOMP_GET_FILTER, ours.pid()), EPERM);
          rusage usage{};
          EXPECT_EQ(error_of(::syscall(SYS_wait4, ours.pid(), &status, WNOHANG, &usage)), EPERM);
          EXPECT_EQ(error_of_trace(PTRACE_DETACH, ours.pid()), 0);
        },
        ours.pid());
  }
}

TEST_F(ConfinementTest, WithoutAProcessToTraceNobodyAttaches) {
  const Sleeper sleeper;
  for (const Confinement kind : tracers)
    as(kind, [&] { EXPECT_EQ(error_of_trace(PTRACE_ATTACH, sleeper.pid()), EPERM); });
}

TEST_F(ConfinementTest, WorkersMakeNoThreads) {
  as(Confinement::worker, [] { EXPECT_FALSE(can_make_a_thread()); });
  as(Confinement::vcpu, [] { EXPECT_FALSE(can_make_a_thread()); });
  as(Confinement::events, [] { EXPECT_TRUE(can_make_a_thread()); });
}

TEST_F(ConfinementTest, AThreadThatEventsMadeBecomesAWorker) {
  as(Confinement::events, [] {
    as(Confinement::worker, [] {
      EXPECT_FALSE(can_make_a_thread());
      const UniqueFd fd(::eventfd(0, EFD_CLOEXEC));
      ASSERT_TRUE(fd);
      EXPECT_EQ(::eventfd_write(fd.get(), 1), 0);
    });
    EXPECT_TRUE(can_make_a_thread());
  });
}

}  // namespace
}  // namespace bhyve
