#pragma once
#include <string>

#include "base/error.hpp"
#include "mem/vmspace.hpp"

namespace bhyve::machine {

/// -l bootrom,FILE[,VARS]: maps the firmware so that it ends at 4 GiB, read-only, and right below
/// it the variable store, whose file keeps what the guest writes. Both are whole pages, 4 KiB to 16 MiB
/// together, as above the local APIC's page there is no more room. The last 256 KiB of a ROM that is no
/// UEFI firmware also lie below 1 MiB, as PCs show it; it makes its own tables there. A file that is
/// refused (one sentence naming it) leaves nothing mapped.
[[nodiscard]] Result<void> map_boot_rom(mem::Vmspace& space, const std::string& file,
                                        const std::string& variables);

}  // namespace bhyve::machine
