#include "platform/acpi_hpet.hpp"

#include "platform/acpi_table.hpp"
#include "platform/layout.hpp"

namespace bhyve::platform {

std::vector<u8> make_hpet(const AcpiConfig& config) {
  constexpr u8 number = 0, protect_4k = 1;
  constexpr u16 min_tick = 0;  // no lower bound for periodic mode
  AcpiTable table("HPET", 1);
  table.body().put_u32(config.hpet_id);
  put_gas_memory(table.body(), layout::hpet.value(), 0);
  table.body().put_u8(number).put_u16(min_tick).put_u8(protect_4k);
  return table.finish();
}

}  // namespace bhyve::platform
