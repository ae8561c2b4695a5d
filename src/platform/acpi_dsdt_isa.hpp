#pragma once
#include <string>

#include "platform/acpi_config.hpp"
#include "platform/aml_term.hpp"

namespace bhyve::platform {

/// "LNKA" .. "LNKH".
[[nodiscard]] std::string aml_link_name(unsigned link);
/// Device (ISA): the LPC bridge with the PIRQ registers, the link devices and the fixed devices.
[[nodiscard]] aml::Term aml_isa_bridge(const AcpiConfig& config);

}  // namespace bhyve::platform
