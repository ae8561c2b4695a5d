#pragma once
#include <span>

#include "base/error.hpp"
#include "loader/boot_request.hpp"
#include "loader/entry_state.hpp"
#include "loader/guest_memory.hpp"
#include "loader/multiboot_header.hpp"
#include "x86/e820.hpp"

namespace bhyve::loader {

/// Loads a multiboot 1 kernel (Multiboot Specification 0.6.96): by the addresses of its header,
/// else as an ELF file; modules above it, then the information structure with memory map, command
/// line ("PATH ARGUMENTS", for modules too) and boot loader name. Entry in 32-bit protected mode
/// with EAX = 2BADB002h and EBX at the information. Every check comes before the first write;
/// failures (ENOEXEC, ENOMEM) are one sentence beginning with the file's `what`.
[[nodiscard]] Result<EntryState> load_multiboot(GuestMemory& memory, const BootRequest& boot,
                                                const MultibootHeader& header,
                                                std::span<const x86::E820Entry> map);

}  // namespace bhyve::loader
