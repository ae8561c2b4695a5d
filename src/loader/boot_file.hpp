#pragma once
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/types.hpp"

namespace bhyve::loader {

/// A file that goes into the guest. `what` begins every sentence about it: "kernel vmlinuz".
struct BootFile final {
  std::string what;
  std::vector<u8> bytes;
};

/// Reads a whole file (also a pipe or /dev/fd) of at most `limit` bytes. Fails with the kernel's
/// errno, EISDIR, ENODATA when empty, EFBIG when longer.
[[nodiscard]] Result<BootFile> read_boot_file(std::string what, const std::string& path, u64 limit);

}  // namespace bhyve::loader
