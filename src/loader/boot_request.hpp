#pragma once
#include <string>
#include <vector>

#include "base/address.hpp"
#include "loader/boot_file.hpp"

namespace bhyve::loader {

/// A file handed to the kernel beside it: the initrd of Linux, a multiboot or PVH module, a
/// preloaded file of FreeBSD. `path` and `arguments` are what the user wrote.
struct BootModule final {
  BootFile file;
  std::string path;
  std::string arguments;
};

/// What is booted, whatever its format. `rsdp` is zero when there are no ACPI tables.
struct BootRequest final {
  BootFile kernel;
  std::string path;  ///< of the kernel, as the user wrote it
  std::vector<BootModule> modules;
  std::string command_line;
  std::vector<std::string> environment;  ///< name=value, for FreeBSD's kernel environment
  Gpa rsdp;
};

}  // namespace bhyve::loader
