#include "platform/acpi_fadt.hpp"

#include "platform/acpi_table.hpp"
#include "platform/layout.hpp"

namespace bhyve::platform {
namespace {

constexpr u8 major = 5, minor = 1;
constexpr u8 pm_profile_unspecified = 0;
constexpr u16 c2_not_supported = 101, c3_not_supported = 1001;
constexpr u8 cmos_century = 0x32;
constexpr u8 reset_value = 6;  ///< CF9: hard reset
constexpr u8 pm1_event_bytes = 4, pm1_control_bytes = 2, pm_timer_bytes = 4;

/// IA-PC boot architecture flags (table 5.11).
constexpr u16 legacy_devices = 1u << 0, has_8042 = 1u << 1, no_vga = 1u << 2, no_aspm = 1u << 4;

/// Fixed feature flags (table 5.10). The power button is a fixed one (bit 4 clear), there is no
/// sleep button (bit 5 set).
constexpr u32 wbinvd = 1u << 0, proc_c1 = 1u << 2, no_sleep_button = 1u << 5,
              timer_32bit = 1u << 8, reset_register = 1u << 10, headless = 1u << 12,
              apic_physical_destination = 1u << 19;

u16 boot_flags(const AcpiConfig& config) {
  u16 flags = legacy_devices | no_aspm;
  if (config.i8042) flags |= has_8042;
  if (!config.vga) flags |= no_vga;
  return flags;
}

/// The ACPI 1.0 part, up to the boot flags: 32-bit pointers and I/O ports.
void put_first_part(ByteWriter& out, Gpa facs, Gpa dsdt) {
  out.put_u32(facs.value()).put_u32(dsdt.value()).put_u8(0).put_u8(pm_profile_unspecified);
  out.put_u16(layout::irq_sci).put_u32(layout::port_smi_command);
  out.put_u8(layout::acpi_enable).put_u8(layout::acpi_disable);
  out.put_u8(0).put_u8(0);                                         // S4BIOS, P-state control
  out.put_u32(layout::port_pm1_event).put_u32(0);                  // PM1a, PM1b event
  out.put_u32(layout::port_pm1_control).put_u32(0).put_u32(0);     // PM1a, PM1b, PM2 control
  out.put_u32(layout::port_pm_timer).put_u32(layout::port_gpe0).put_u32(0);  // GPE1
  out.put_u8(pm1_event_bytes).put_u8(pm1_control_bytes).put_u8(0).put_u8(pm_timer_bytes);
  out.put_u8(layout::port_gpe0_length).put_u8(0).put_u8(0).put_u8(0);  // GPE1, its base, C-states
  out.put_u16(c2_not_supported).put_u16(c3_not_supported);
  out.put_u16(0).put_u16(0).put_u8(0).put_u8(0);                   // flush, duty cycle
  out.put_u8(0).put_u8(0).put_u8(cmos_century);                    // day and month alarm
}

/// From X_FIRMWARE_CTRL on. The FACS is below 4 GiB, so its 64-bit pointer is zero; the DSDT has
/// both.
void put_extended_part(ByteWriter& out, Gpa dsdt) {
  out.put_u64(0).put_u64(dsdt.value());
  put_gas_io(out, layout::port_pm1_event, 8 * pm1_event_bytes);
  put_gas_io(out, 0, 0);
  put_gas_io(out, layout::port_pm1_control, 8 * pm1_control_bytes);
  put_gas_io(out, 0, 0);
  put_gas_io(out, 0, 0);
  put_gas_io(out, layout::port_pm_timer, 8 * pm_timer_bytes);
  put_gas_io(out, layout::port_gpe0, 8 * layout::port_gpe0_length);
  put_gas_io(out, 0, 0);
  put_gas_io(out, 0, 0);  // sleep control
  put_gas_io(out, 0, 0);  // sleep status
}

}  // namespace

std::vector<u8> make_fadt(const AcpiConfig& config, Gpa facs, Gpa dsdt) {
  AcpiTable table("FACP", major);
  ByteWriter& out = table.body();
  put_first_part(out, facs, dsdt);
  out.put_u16(boot_flags(config)).put_u8(0);
  u32 flags = wbinvd | proc_c1 | no_sleep_button | timer_32bit | reset_register |
              apic_physical_destination;
  if (!config.vga) flags |= headless;
  out.put_u32(flags);
  put_gas_io(out, layout::port_reset, 8);
  out.put_u8(reset_value).put_u16(0).put_u8(minor);
  put_extended_part(out, dsdt);
  return table.finish();
}

}  // namespace bhyve::platform
