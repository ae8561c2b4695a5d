#include "platform/acpi_spcr.hpp"

#include "platform/acpi_table.hpp"
#include "platform/layout.hpp"

namespace bhyve::platform {

std::vector<u8> make_spcr() {
  constexpr u8 full_16550 = 0, interrupt_pic = 1, interrupt_ioapic = 2, baud_115200 = 7,
               no_parity = 0, one_stop_bit = 1, no_flow_control = 0, terminal_vt100_plus = 1;
  constexpr u16 no_pci_device = 0xffff;
  AcpiTable table("SPCR", 2);
  ByteWriter& out = table.body();
  out.put_u8(full_16550).put_zeros(3);
  put_gas_io(out, layout::port_com1, 8);
  out.put_u8(interrupt_pic | interrupt_ioapic).put_u8(layout::irq_com1).put_u32(layout::irq_com1);
  out.put_u8(baud_115200).put_u8(no_parity).put_u8(one_stop_bit).put_u8(no_flow_control);
  out.put_u8(terminal_vt100_plus).put_u8(0);
  out.put_u16(no_pci_device).put_u16(no_pci_device).put_u8(0).put_u8(0).put_u8(0);
  out.put_u32(0).put_u8(0).put_u32(0);  // PCI flags, segment, reserved
  return table.finish();
}

}  // namespace bhyve::platform
