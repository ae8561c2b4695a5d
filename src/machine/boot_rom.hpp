#pragma once
#include <string>

#include "base/error.hpp"
#include "mem/vmspace.hpp"

namespace bhyve::machine {

/// -l bootrom,FILE[,VARS]: maps the firmware so that it ends at 4 GiB, read-only, and right below
/// it this VM's own writable copy of the variable store. Both are whole pages, 4 KiB to 16 MiB. A
/// BIOS whose reset vector jumps into segment F000h also finds its last 128 KiB below 1 MiB, as the
/// chip sets it was written for show it. On failure (one sentence naming the file) nothing is
/// mapped.
[[nodiscard]] Result<void> map_boot_rom(mem::Vmspace& space, const std::string& file,
                                        const std::string& variables);

}  // namespace bhyve::machine
