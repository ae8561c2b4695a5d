#include "api/signal_watch.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include "base/confinement.hpp"
#include "base/log.hpp"
#include "base/thread.hpp"

namespace bhyve::api {

SignalWatch::SignalWatch() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  ::pthread_sigmask(SIG_BLOCK, &set, &before_);
  fd_ = UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  // A console whose other side has gone is an error of write(), not the end of bhyve.
  struct sigaction ignore{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, &pipe_before_);
}

SignalWatch::~SignalWatch() {
  ::sigaction(SIGPIPE, &pipe_before_, nullptr);
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

SignalWatch::Listener::Listener(const SignalWatch& watch, machine::Machine& machine)
    : stop_(::eventfd(0, EFD_CLOEXEC)),
      thread_([this, signals = watch.fd_.get(), &machine] { listen(signals, machine); }) {}

SignalWatch::Listener::~Listener() {
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
}

void SignalWatch::Listener::listen(int signals, machine::Machine& machine) const {
  block_async_signals();
  name_this_thread("signals");
  if (machine.config().seccomp)
    if (auto ok = confine_this_thread(Confinement::worker); !ok) log_warn("{}", ok.error().message);
  while (true) {
    pollfd fds[] = {{stop_.get(), POLLIN, 0}, {signals, POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0 && errno != EINTR) return;
    if (fds[0].revents) return;
    signalfd_siginfo info;
    while (::read(signals, &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGTERM) machine.terminate();
      else (void)machine.suspend(abi::SuspendHow::poweroff);
    }
  }
}

}  // namespace bhyve::api
