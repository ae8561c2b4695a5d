#pragma once
#include <vector>

#include "base/error.hpp"
#include "platform/acpi_config.hpp"
#include "platform/guest_blob.hpp"

namespace bhyve::platform {

/// All tables, placed one after the other from layout::acpi on, 64-byte aligned.
struct AcpiTables final {
  Gpa rsdp;
  std::vector<GuestBlob> blobs;  ///< in the order of their addresses; the RSDP is the first
};

/// Fails with E2BIG when the tables do not fit below 1 MiB and EINVAL when there is no CPU, or more
/// than AcpiConfig::max_cpus.
[[nodiscard]] Result<AcpiTables> make_acpi_tables(const AcpiConfig& config);

}  // namespace bhyve::platform
