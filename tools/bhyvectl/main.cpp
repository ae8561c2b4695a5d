#include <fmt/format.h>

#include <cstdio>

#include "actions.hpp"
#include "bhyve/vm.hpp"
#include "options.hpp"

namespace {

constexpr int status_usage = 1;

constexpr const char* help = R"(usage: bhyvectl --vm=NAME [--cpu=N] [--json] [--watch[=SECONDS]] action ...
       bhyvectl --list [--json] [--watch[=SECONDS]]
       bhyvectl --sysctl[=NAME] [--json]

Works on running VMs and on stopped ones. Several actions may be given; they are done in the order
setters, interrupts, getters, capabilities, CPU sets, statistics, topology, run, reset, destroy.

VMs
  --list                the VMs of this user
  --create, --destroy   make a VM; remove it, a running one by force
  --set-mem=MB          memory of a stopped VM, rounded up to 2 MB
  --get-info            engine, state, memory, CPU use, uptime
  --get-memmap, --get-memseg, --get-lowmem, --get-highmem
  --get-gpa-pmap=GPA    entries of the nested page tables on the way to an address
  --force-reset, --force-poweroff
                        end the run as a reset or a power-off by the guest does

One vCPU (--cpu=N, 0 when not given)
  --get-all             everything that can be looked at
  --get-R, --set-R=V    R: efer cr0 cr2 cr3 cr4 dr0-dr3 dr6 dr7 rsp rip rax rflags;
                        getters also rbx rcx rdx rsi rdi rbp r8-r15
  --get-S, --set-S=SEL  selectors, S: cs ds es fs gs ss tr ldtr
  --get-desc-S, --set-desc-S
                        descriptors, S also gdtr idtr; the values come from
                        --desc-base=, --desc-limit=, --desc-access=
  --get-guest-pat, --get-guest-sysenter, --get-tsc-offset
  --get-intinfo         what waits for the vCPU
  --getcap, --setcap=0|1 with --capname=NAME
                        capability: hlt_exit mtrap_exit pause_exit unrestricted_guest
                        enable_invpcid bpt_exit rdpid rdtscp ipi_exit
  --get-x2apic-state, --set-x2apic-state=0|1
                        mode of the local APIC; set before the vCPU runs
  --get-stats           statistics
  --get-pinning, --set-pinning=CPUS
                        host CPUs of its thread, such as 0,2-5, or any
  --suspend-cpu, --resume-cpu
                        stop it, let it go on; --cpu=-1 for all
  --inject-nmi          NMI
  --assert-lapic-lvt=N  fire local interrupt 0-6; --cpu=-1 for all
  --run                 enter a stopped VM's vCPU once and print the exit

CPU sets, clock
  --get-active-cpus, --get-suspended-cpus, --get-debug-cpus, --get-cpu-topology
  --get-rtc-time, --set-rtc-time=SECONDS
  --get-rtc-nvram, --set-rtc-nvram=V with --rtc-nvram-offset=O

  --sysctl[=NAME]       values of the host under FreeBSD's names; needs no VM
  --json                JSON on standard output
  --watch[=SECONDS]     look again every 2 seconds, or so many
  --help, --version

Exit status: 0, 1 for wrong usage, else the error number that is printed.
)";

}  // namespace

int main(int argc, char** argv) {
  const auto options = tool::parse_ctl_options(argc, argv, tool::option_rows());
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
