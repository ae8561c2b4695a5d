#pragma once
#include <optional>
#include <span>
#include <string_view>

#include "base/error.hpp"
#include "base/types.hpp"

namespace bhyve::loader {

/// The header of a multiboot 1 image (Multiboot Specification 0.6.96, 3.1).
struct MultibootHeader final {
  usize offset = 0;          ///< in the file
  bool page_aligned = false; ///< modules are wanted on page boundaries
  bool has_addresses = false;
  /// Physical addresses; only with has_addresses.
  u32 header_address = 0, load_address = 0, load_end = 0, bss_end = 0, entry = 0;
};

/// Finds the header in the first 8 KiB; nothing when there is none. ENOEXEC and a sentence
/// beginning with `what` when there is one that asks for what this loader cannot do.
[[nodiscard]] Result<std::optional<MultibootHeader>> find_multiboot(std::string_view what,
                                                                    std::span<const u8> file);

}  // namespace bhyve::loader
