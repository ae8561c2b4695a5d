#include <fmt/format.h>

#include <cstdio>

#include "actions.hpp"
#include "bhyve/vm.hpp"
#include "options.hpp"

namespace {

constexpr int status_usage = 1;

constexpr const char* help = R"(usage: bhyvectl --vm=NAME [--cpu=N] [--json] action ...
       bhyvectl --list [--json]

Looking
  --get-all             registers, memory map, CPU sets and statistics of a vCPU
  --get-stats           statistics of a vCPU
  --get-memmap          mappings of guest memory
  --get-cpu-topology    sockets, cores, threads
  --get-active-cpus     vCPUs that run
  --get-suspended-cpus  vCPUs that have come to their end
  --list                the VMs of this user

Doing
  --create              make a VM
  --inject-nmi          NMI to the vCPU
  --assert-lapic-lvt=N  fire local interrupt 0-6; --cpu=-1 for all vCPUs
  --force-reset         end the run as a reset does
  --force-poweroff      end the run as a power-off does
  --destroy             remove the VM; a running one is ended by force

  --cpu=N               the vCPU that is meant (0)
  --json                JSON on standard output
  --help, --version
)";

}  // namespace

int main(int argc, char** argv) {
  const auto options = tool::parse_ctl_options(argc, argv);
  if (!options) {
    fmt::print(stderr, "bhyvectl: {}\n", options.error().message);
    return status_usage;
  }
  if (options->help || options->version) {
    if (options->help) std::fputs(help, stdout);
    else fmt::print("bhyvectl {}\n", bhyve::version());
    return 0;
  }
  if (const auto done = tool::run_actions(*options); !done) {
    fmt::print(stderr, "bhyvectl: {} (errno = {})\n", done.error().message, done.error().code);
    return done.error().code;
  }
  return 0;
}
