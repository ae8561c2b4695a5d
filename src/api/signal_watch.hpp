#pragma once
#include <csignal>
#include <thread>

#include "base/fd.hpp"
#include "machine/machine.hpp"

namespace bhyve::api {

/// Takes SIGTERM, SIGINT and SIGHUP from the process while a VM is made and run, so that they end the
/// guest and not bhyve in the middle of something. Made before any thread of the VM: these inherit the
/// mask. Signals that come before a Listener is there are kept for it.
class SignalWatch final {
 public:
  SignalWatch();
  ~SignalWatch();  ///< gives the signals back
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  /// Passes the signals on to a machine: SIGTERM presses the power button (Machine::terminate), the
  /// others switch it off.
  class Listener final {
   public:
    Listener(const SignalWatch& watch, machine::Machine& machine);
    ~Listener();
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

   private:
    void listen(int signals, machine::Machine& machine) const;
    UniqueFd stop_;
    std::thread thread_;
  };

 private:
  UniqueFd fd_;
  sigset_t before_{};
  struct sigaction pipe_before_{};
};

}  // namespace bhyve::api
