#include "help.hpp"

#include <cstdio>

namespace tool {

void print_load_help() {
  std::fputs(R"(usage: bhyveload [options] vmname

  bhyveload -m 1G -h /guest/root vmname && bhyve -c 2 -s 0,hostbridge -s 31,lpc \
      -l com1,stdio vmname

Loads a kernel into the memory of a VM, which is made when it does not exist and loaded anew
when it does. `bhyve vmname` runs it, `bhyvectl --vm=vmname --destroy` removes it.

  -h DIRECTORY      host directory: its boot/kernel/kernel is loaded
  --kernel FILE     this kernel instead: FreeBSD, Linux bzImage, multiboot or PVH
  --initrd FILE     Linux: initial RAM file system; else FILE[,ARGUMENTS] is a module
  --append TEXT     kernel command line
  -e NAME=VALUE     variable of FreeBSD's kernel environment; may be repeated
  -m SIZE[K|M|G|T]  guest memory, all of it; without suffix in megabytes (256M)
  -o VARIABLE=VALUE set a configuration variable, e.g. boot.module.1=FILE[,ARGUMENTS]
  -c DEVICE         console of the loader; it is silent, so that only stdio means anything
  -C, -S            as in bhyve(8)
  --help, --version

Exit status: 0, or 1 with a line that says what was wrong.
)", stdout);
}

}  // namespace tool
