#include "platform/acpi_xsdt.hpp"

#include "platform/acpi_table.hpp"

namespace bhyve::platform {

std::vector<u8> make_xsdt(std::span<const Gpa> tables) {
  AcpiTable table("XSDT", 1);
  for (const Gpa address : tables) table.body().put_u64(address.value());
  return table.finish();
}

}  // namespace bhyve::platform
