#pragma once
#include <optional>
#include <span>

#include "base/error.hpp"
#include "loader/boot_request.hpp"
#include "loader/elf.hpp"
#include "loader/entry_state.hpp"
#include "loader/guest_memory.hpp"
#include "x86/e820.hpp"

namespace bhyve::loader {

/// The entry point of the note XEN_ELFNOTE_PHYS32_ENTRY, or nothing when the image has none.
[[nodiscard]] std::optional<u32> find_pvh_entry(const ElfImage& image);

/// Loads an ELF kernel by the PVH boot ABI (Xen's docs/misc/pvh.pandoc): segments by physical
/// address, modules above them, hvm_start_info (version 1) with memory map, command line and RSDP;
/// entry in 32-bit protected mode with EBX at it. Checks and failures as load_multiboot().
[[nodiscard]] Result<EntryState> load_pvh(GuestMemory& memory, const BootRequest& boot,
                                          const ElfImage& image, u32 entry,
                                          std::span<const x86::E820Entry> map);

}  // namespace bhyve::loader
