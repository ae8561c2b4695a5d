#include "platform/acpi_rsdt.hpp"

#include "platform/acpi_table.hpp"

namespace bhyve::platform {

std::vector<u8> make_rsdt(std::span<const Gpa> tables) {
  AcpiTable table("RSDT", 1);
  for (const Gpa address : tables) table.body().put_u32(address.value());
  return table.finish();
}

}  // namespace bhyve::platform
