#include "platform/acpi_mcfg.hpp"

#include "platform/acpi_table.hpp"
#include "platform/layout.hpp"

namespace bhyve::platform {

std::vector<u8> make_mcfg() {
  constexpr u16 segment = 0;
  constexpr u8 first_bus = 0;
  constexpr u8 last_bus = static_cast<u8>(layout::pci_ecam_size / MiB - 1);
  AcpiTable table("MCFG", 1);
  table.body().put_u64(0).put_u64(layout::pci_ecam.value()).put_u16(segment);
  table.body().put_u8(first_bus).put_u8(last_bus).put_u32(0);
  return table.finish();
}

}  // namespace bhyve::platform
