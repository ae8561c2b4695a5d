#pragma once
#include "platform/acpi_config.hpp"
#include "platform/aml_term.hpp"

namespace bhyve::platform {

/// Device (PC00): the root bridge of bus 0 with its windows, interrupt routing and all that is on
/// it. `\PICM` must exist.
[[nodiscard]] aml::Term aml_pci_root(const AcpiConfig& config);

}  // namespace bhyve::platform
