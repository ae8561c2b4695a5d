#include "host/terminal.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

#include "base/fd.hpp"

namespace bhyve::host {
namespace {

struct Pty {
  UniqueFd master, slave;
  Pty() : master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    if (::grantpt(master.get()) == 0 && ::unlockpt(master.get()) == 0)
      slave.reset(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
  }
  [[nodiscard]] bool canonical() const {
    termios t{};
    return ::tcgetattr(slave.get(), &t) == 0 && (t.c_lflag & ICANON) != 0;
  }
};

TEST(RawTerminal, IsRawWhileItLivesAndRestoredAfter) {
  const Pty pty;
  ASSERT_TRUE(pty.canonical());
  {
    const RawTerminal raw(pty.slave.get());
    EXPECT_FALSE(pty.canonical());
  }
  EXPECT_TRUE(pty.canonical());
}

TEST(RawTerminal, DescriptorThatIsNoTerminalIsLeftAlone) {
  const UniqueFd null(::open("/dev/null", O_RDWR));
  const RawTerminal raw(null.get());
  const Pty pty;
  const RawTerminal second(pty.slave.get());  // the first does not count as one
  EXPECT_FALSE(pty.canonical());
}

TEST(RawTerminal, FatalSignalsRestoreItAndStillKill) {
  for (const int signal : {SIGTERM, SIGHUP, SIGABRT, SIGSEGV}) {
    const Pty pty;
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::signal(signal, SIG_DFL);
      const RawTerminal raw(pty.slave.get());
      if (pty.canonical()) ::_exit(1);
      ::raise(signal);
      ::_exit(2);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << signal << " " << status;
    EXPECT_TRUE(pty.canonical()) << signal;
  }
}

TEST(RawTerminal, ExitRestoresIt) {
  const Pty pty;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    new RawTerminal(pty.slave.get());  // never destroyed
    if (pty.canonical()) ::_exit(1);
    RawTerminal::restore_now();  // what atexit calls
    ::_exit(pty.canonical() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace bhyve::host
