#pragma once
#include <vector>

#include "base/types.hpp"
#include "x86/e820.hpp"

namespace bhyve::platform {

/// The guest's memory map, sorted and without overlaps: RAM below 640 KiB less the EBDA, the BIOS
/// area, RAM from 1 MiB to `lowmem`, the ECAM window, RAM from 4 GiB. What is not listed is the PCI
/// hole. `lowmem` and `highmem` are sizes in bytes; lowmem <= lowmem_limit_highest.
[[nodiscard]] std::vector<x86::E820Entry> make_e820(u64 lowmem, u64 highmem);

}  // namespace bhyve::platform
