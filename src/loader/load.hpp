#pragma once
#include <span>

#include "base/error.hpp"
#include "loader/boot_request.hpp"
#include "loader/entry_state.hpp"
#include "loader/guest_memory.hpp"
#include "x86/e820.hpp"

namespace bhyve::loader {

/// Loads a kernel of any format that this loader knows, told apart by its contents: Linux bzImage,
/// multiboot 1, ELF with the PVH note, FreeBSD ELF64. RAM is zero at first. Every check comes
/// before the first write; a failure is one sentence beginning with a file's `what`.
[[nodiscard]] Result<EntryState> load_kernel(GuestMemory& memory, BootRequest boot,
                                             std::span<const x86::E820Entry> map);

}  // namespace bhyve::loader
