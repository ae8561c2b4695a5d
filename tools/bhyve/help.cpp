#include "help.hpp"

#include <fmt/format.h>

#include <cstdio>

namespace tool {
namespace {

constexpr const char* text = R"(usage: bhyve [options] vmname

  bhyve -c 2 -m 1G -s 0,hostbridge -s 31,lpc -l com1,stdio \
        --kernel vmlinuz --initrd initrd.gz --append 'console=ttyS0' vmname

Boot
  --kernel FILE     Linux kernel (bzImage); variable boot.kernel
  --initrd FILE     initial RAM file system; variable boot.initrd
  --append TEXT     kernel command line; variable boot.cmdline

Machine
  -c [[cpus=]N][,sockets=N][,cores=N][,threads=N]
                    virtual CPUs and their topology (1)
  -m SIZE[K|M|G|T]  guest memory, all of it; without suffix in megabytes (256M)
  -s SLOT,EMULATION[,CONFIGURATION]
                    PCI device; SLOT is slot, slot:function or bus:slot:function;
                    `-s help` lists the devices
  -l DEVICE[,CONFIGURATION]
                    device on the LPC bridge, e.g. com1,stdio; `-l help` lists them
  -f NAME,string=TEXT or -f NAME,file=PATH
                    item of the firmware configuration device (-l fwcfg,qemu)
  -U UUID           system UUID for the SMBIOS table
  -u                the clock chip keeps UTC instead of local time
  -Y                no MP table
  -A                ACPI tables (always made; accepted for old scripts)

CPUs
  -p VCPU:HOSTCPU   pin a virtual CPU; may be repeated
  -H                leave the guest on HLT
  -P                leave the guest on PAUSE
  -a                local APICs in xAPIC mode, x2APIC mode hidden (without -a and -x they
                    start in xAPIC mode and the guest may choose)
  -x                local APICs in x2APIC mode from the start
  -w                ignore unknown MSRs instead of #GP

Memory and I/O
  -S                wire guest memory
  -C                guest memory goes into core dumps
  -e                stop when the guest uses an I/O port that nobody emulates
  -W                virtio devices use MSI instead of MSI-X

Configuration
  -o VARIABLE=VALUE set a configuration variable; config.dump=true prints them all
  -k FILE           read variables from a file, one VARIABLE=VALUE a line
  -K LAYOUT         keyboard layout
  --dry-run         print the resolved machine and what of it this build lacks; run nothing
  -D                destroy the VM when the guest powers itself off
  -h, --help        this text
  --version         the version

Variables of this implementation (with -o)
  engine=auto|soft  the CPU engine
  cpu.model=max|x86-64-v1|x86-64-v2|x86-64-v3|x86-64-v4
  cpu.features=+name,-name
  cpu.hypervisor=bhyve|kvm|none

Exit status: 0 the guest rebooted, 1 powered off (also: wrong usage), 2 halted,
3 triple fault, 4 error, 64 a bad -p; with -l pc-testdev what the guest wrote to port F4h * 2 + 1.
)";

}  // namespace

void print_help() { std::fputs(text, stdout); }

void print_devices(std::span<const bhyve::DeviceName> devices) {
  for (const auto& device : devices)
    fmt::print("{:<16}{}{}\n", device.name, device.help,
               device.available ? "" : " (not in this build)");
}

}  // namespace tool
