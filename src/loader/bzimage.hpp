#pragma once
#include <optional>
#include <span>
#include <string>

#include "base/address.hpp"
#include "base/error.hpp"
#include "loader/boot_file.hpp"
#include "loader/entry_state.hpp"
#include "loader/guest_memory.hpp"
#include "x86/e820.hpp"

namespace bhyve::loader {

/// What is booted. `rsdp` is zero when there are no ACPI tables.
struct LinuxBoot final {
  BootFile kernel;
  std::optional<BootFile> initrd;
  std::string command_line;
  Gpa rsdp;
};

/// Loads a Linux bzImage of boot protocol 2.02 or newer (Documentation/arch/x86/boot.rst): kernel,
/// initrd, command line, boot_params with `map`, GDT; by the 64-bit protocol where the kernel has
/// it (page tables, entry at +200h), else by the 32-bit one (entry at code32_start). RSI at
/// boot_params. Every check comes before the first write, so that a failure (ENOEXEC, E2BIG,
/// ENOMEM; one sentence beginning with the file's `what`) leaves the memory alone.
[[nodiscard]] Result<EntryState> load_bzimage(GuestMemory& memory, const LinuxBoot& boot,
                                              std::span<const x86::E820Entry> map);

}  // namespace bhyve::loader
