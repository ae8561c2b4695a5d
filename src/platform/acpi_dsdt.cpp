#include "platform/acpi_dsdt.hpp"

#include "platform/acpi_dsdt_isa.hpp"
#include "platform/acpi_dsdt_pci.hpp"
#include "platform/acpi_table.hpp"
#include "platform/aml_term.hpp"
#include "platform/layout.hpp"

namespace bhyve::platform {
namespace {

/// \_S5: SLP_TYPa and SLP_TYPb of soft off (ACPI 6.4, 7.4.2).
aml::Term sleep_states() {
  using namespace aml;
  return name("\\_S5", package({integer(layout::s5_sleep_type), integer(0), integer(0),
                                integer(0)}));
}

/// \_PIC: the OS says which interrupt model it uses; _PRT answers by PICM (5.8.1).
aml::Term interrupt_model() {
  using namespace aml;
  return name("PICM", integer(0)) + method("_PIC", 1, {store(argument(0), path("PICM"))});
}

}  // namespace

std::vector<u8> make_dsdt(const AcpiConfig& config) {
  constexpr u8 revision = 2;  // integers are 64 bits wide
  AcpiTable table("DSDT", revision);
  table.body().put_bytes(sleep_states()).put_bytes(interrupt_model());
  table.body().put_bytes(aml::scope("\\_SB", {aml_pci_root(config)}));
  return table.finish();
}

}  // namespace bhyve::platform
