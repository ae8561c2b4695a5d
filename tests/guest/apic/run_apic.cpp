// Runs one guest program on the vmm's own chips and judges it by the directives in its source's first
// comment:
//   @vcpus N                      vCPUs of the machine (1)
//   @modes xapic|x2apic           the one mode of the local APICs at power-up it is for (both)
//   @mptable                      the MP table is in memory
//   @expect end N | halt          how it must end (end 0); halt: all vCPUs halted for good
// With a last argument "no-signals" the process dies by SIGSYS when one of its threads sends a signal.
//   @spindowns N                  how often a vCPU must have left as SPINDOWN_CPU (0)
#include <seccomp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>

#include "chips_machine.hpp"

namespace {

using namespace bhyve;
using test::ChipsMachine;

constexpr unsigned seconds = 60;

struct Directives {
  ChipsMachine::Options machine;
  std::string modes;
  bool halt = false;
  unsigned status = 0, spindowns = 0;
};

Directives parse(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  Directives d;
  for (std::string line; std::getline(file, line) && line.find("*/") == std::string::npos;) {
    const auto at = line.find('@');
    if (at == std::string::npos) continue;
    std::istringstream words(line.substr(at));
    std::string key, how;
    words >> key;
    if (key == "@vcpus") words >> d.machine.vcpus;
    else if (key == "@modes") words >> d.modes;
    else if (key == "@mptable") d.machine.mptable = true;
    else if (key == "@spindowns") words >> d.spindowns;
    else if (key == "@expect" && words >> how && !(d.halt = how == "halt")) words >> d.status;
    if (words.fail()) throw std::runtime_error("bad directive " + key);
  }
  return d;
}

/// From now on no thread of the process, made already or later, can send a signal and live.
void forbid_signals() {
  const scmp_filter_ctx filter = ::seccomp_init(SCMP_ACT_ALLOW);
  if (!filter) throw std::runtime_error("no seccomp filter");
  int result = ::seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
  for (const int call : {SCMP_SYS(kill), SCMP_SYS(tkill), SCMP_SYS(tgkill), SCMP_SYS(rt_sigqueueinfo),
                         SCMP_SYS(rt_tgsigqueueinfo), SCMP_SYS(pidfd_send_signal),
                         SCMP_SYS(timer_create), SCMP_SYS(setitimer), SCMP_SYS(alarm)})
    if (result == 0) result = ::seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, call, 0);
  if (result == 0) result = ::seccomp_load(filter);
  ::seccomp_release(filter);
  if (result != 0) throw std::runtime_error("seccomp filter refused");
  const pid_t child = ::fork();  // see that it would be noticed
  if (child == 0) ::raise(SIGCONT), ::_exit(0);
  int status = 0;
  if (::waitpid(child, &status, 0) != child || !WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
    throw std::runtime_error("a signal went unnoticed");
}

int run(const std::string& binary, const std::string& source, const std::string& mode) {
  Directives d = parse(source);
  if (!d.modes.empty() && d.modes != mode) {
    std::cout << "not for this mode\n";
    return 0;
  }
  d.machine.x2apic = mode == "x2apic";
  std::ifstream file(binary, std::ios::binary);
  const std::vector<char> image{std::istreambuf_iterator<char>(file), {}};
  if (image.empty()) throw std::runtime_error("cannot read " + binary);
  ChipsMachine machine(d.machine);
  machine.load(std::span(reinterpret_cast<const u8*>(image.data()), image.size()));
  machine.start();
  const auto outcome = machine.finish(seconds);
  std::cout << machine.output();
  using Kind = ChipsMachine::Outcome::Kind;
  const bool right = d.halt ? outcome.kind == Kind::suspended &&
                                  outcome.how == abi::SuspendHow::halt
                            : outcome.kind == Kind::ended && outcome.status == d.status;
  if (right && machine.spindowns() == d.spindowns) return 0;
  constexpr const char* kinds[] = {"ended", "suspended", "timeout", "error"};
  std::cout << kinds[static_cast<unsigned>(outcome.kind)] << " status " << outcome.status
            << " reason " << static_cast<unsigned>(outcome.how) << " spindowns "
            << machine.spindowns() << ' ' << outcome.detail << '\n';
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const bool no_signals = argc == 5 && argv[4] == std::string_view("no-signals");
  if (argc != 4 && !no_signals) {
    std::cerr << "usage: run_apic BINARY SOURCE xapic|x2apic [no-signals]\n";
    return 2;
  }
  try {
    if (no_signals) forbid_signals();
    return run(argv[1], argv[2], argv[3]);
  } catch (const std::exception& e) {
    std::cerr << "run_apic: " << e.what() << '\n';
    return 2;
  }
}
