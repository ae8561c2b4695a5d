#include "host/terminal.hpp"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>

namespace bhyve::host {

namespace {

// Written before saved_fd is published, read by signal handlers after it.
termios saved_settings;
std::atomic<int> saved_fd{-1};
static_assert(std::atomic<int>::is_always_lock_free);

constexpr int fatal_signals[] = {SIGHUP,  SIGINT, SIGQUIT, SIGTERM, SIGABRT,
                                 SIGSEGV, SIGBUS, SIGFPE,  SIGILL,  SIGSYS};

void restore_and_die(int signal) {
  RawTerminal::restore_now();
  ::raise(signal);  // SA_RESETHAND: the default action now, once this handler returns
}

/// Handlers the rest of the program set are its own business.
void guard_fatal_signals() {
  for (const int signal : fatal_signals) {
    struct sigaction old {};
    if (::sigaction(signal, nullptr, &old) != 0 || old.sa_handler != SIG_DFL) continue;
    struct sigaction action {};
    action.sa_handler = restore_and_die;
    action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_ONSTACK;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(signal, &action, nullptr);
  }
}

}  // namespace

void RawTerminal::restore_now() {
  const int error = errno;
  const int fd = saved_fd.exchange(-1);
  if (fd >= 0) ::tcsetattr(fd, TCSANOW, &saved_settings);
  errno = error;
}

RawTerminal::RawTerminal(int fd) {
  if (saved_fd.load() >= 0 || ::isatty(fd) == 0) return;
  // In the background tcsetattr() would stop us. A terminal that is not ours to control has no
  // foreground group to ask for.
  const pid_t foreground = ::tcgetpgrp(fd);
  if (foreground >= 0 && foreground != ::getpgrp()) return;
  if (::tcgetattr(fd, &saved_settings) != 0) return;
  termios raw = saved_settings;
  ::cfmakeraw(&raw);
  raw.c_cflag |= CLOCAL;
  saved_fd.store(fd);
  static const int registered = std::atexit(RawTerminal::restore_now);
  static_cast<void>(registered);
  guard_fatal_signals();
  active_ = true;
  ::tcsetattr(fd, TCSANOW, &raw);
}

RawTerminal::~RawTerminal() {
  if (active_) restore_now();
}

}  // namespace bhyve::host
