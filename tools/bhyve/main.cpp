#include <fmt/format.h>

#include <cstdio>

#include "bhyve/devices.hpp"
#include "bhyve/vm.hpp"
#include "help.hpp"
#include "options.hpp"

namespace {

/// bhyve's exit status for each way in which a run ends.
int exit_status(const bhyve::RunResult& result) {
  if (result.debug_exit) return *result.debug_exit;
  switch (result.how) {
    case bhyve::abi::SuspendHow::reset: return 0;
    case bhyve::abi::SuspendHow::poweroff: return 1;
    case bhyve::abi::SuspendHow::halt: return 2;
    case bhyve::abi::SuspendHow::triplefault: return 3;
    case bhyve::abi::SuspendHow::none: break;
  }
  return tool::status_error;
}

int complain(int status, const std::string& sentence) {
  fmt::print(stderr, "bhyve: {}\n", sentence);
  return status;
}

int run(const tool::Options& options) {
  using Action = tool::Options::Action;
  switch (options.action) {
    case Action::help: tool::print_help(); return 0;
    case Action::version: fmt::print("bhyve {}\n", bhyve::version()); return 0;
    case Action::pci_help: tool::print_devices(bhyve::pci_devices()); return 0;
    case Action::lpc_help: tool::print_devices(bhyve::lpc_devices()); return 0;
    case Action::dump:
      fmt::print("{}", options.config.dump());
      return tool::status_usage;
    case Action::describe: {
      const auto text = bhyve::describe_machine(options.config);
      if (!text) return complain(tool::status_error, text.error().message);
      fmt::print("{}", *text);
      return 0;
    }
    case Action::run: break;
  }
  const auto result = bhyve::run_vm(options.config, bhyve::CallerThread::is_confined);
  return result ? exit_status(*result) : complain(tool::status_error, result.error().message);
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = tool::parse_options(argc, argv);
  if (!options) return complain(options.error().status, options.error().message);
  return run(*options);
}
