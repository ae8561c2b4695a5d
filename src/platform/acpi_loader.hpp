#pragma once
#include <string>
#include <utility>
#include <vector>

#include "base/types.hpp"
#include "platform/acpi.hpp"

namespace bhyve::platform {

/// ACPI tables for firmware that places them itself: files for the firmware configuration device and
/// the script that joins them (QEMU's docs/specs/acpi_... and hw/acpi/bios-linker-loader): allocate
/// each file, add the address of one to pointers in another, compute checksums.
/// Pairs of name and contents: etc/acpi/rsdp, etc/acpi/tables, etc/table-loader.
[[nodiscard]] std::vector<std::pair<std::string, std::vector<u8>>> make_acpi_files(
    const AcpiTables& tables);

}  // namespace bhyve::platform
