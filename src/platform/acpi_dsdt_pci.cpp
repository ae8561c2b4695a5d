#include "platform/acpi_dsdt_pci.hpp"

#include <string>

#include "platform/acpi_dsdt_isa.hpp"
#include "platform/aml_resource.hpp"
#include "platform/layout.hpp"
#include "platform/pci_routing.hpp"

namespace bhyve::platform {
namespace {

using namespace aml;

/// _CRS: what the bridge passes to its bus. The configuration mechanism's ports are its own, and
/// the hot-plug block is cut out of the I/O window.
Term root_resources(const AcpiConfig& config) {
  constexpr u16 config_first = layout::port_pci_address, config_ports = 8;
  constexpr u16 hotplug_end = layout::port_hotplug + layout::port_hotplug_length;
  const u64 window64 = layout::pci_mmio64(config.highmem).value();
  Terms list{
      word_bus_window(0, 0xff),
      word_io_window(0, config_first - 1),
      io(config_first, config_ports),
      word_io_window(config_first + config_ports, layout::pci_io_base - 1),
      word_io_window(layout::pci_io_base, layout::port_hotplug - 1),
      word_io_window(hotplug_end, 0xffff),
  };
  if (config.vga) {
    list.push_back(dword_memory_window(static_cast<u32>(layout::vga_window.value()), 0xb'ffff));
  }
  list.push_back(dword_memory_window(
      static_cast<u32>(layout::pci_mmio32(config.lowmem).value()),
      static_cast<u32>(layout::pci_mmio32_end.value() - 1)));
  list.push_back(qword_memory_window(window64, window64 + layout::pci_mmio64_size - 1));
  return resource_template(list);
}

/// _PRT packages (ACPI 6.4, 6.2.13) of every slot and pin of one interrupt model.
template <class Route>
Term routing_table(Route route) {
  constexpr u64 any_function = 0xffff;
  Terms entries;
  // A Package holds 255 elements at most: 31 slots x 4 pins fit; slot 0 is the host bridge.
  for (unsigned slot = 1; slot < pci_slots; ++slot) {
    for (unsigned pin = 1; pin <= pci_int_pins; ++pin) {
      Terms entry{integer(u64{slot} << 16 | any_function), integer(pin - 1)};
      for (Term& t : route(slot, pin)) entry.push_back(std::move(t));
      entries.push_back(package(entry));
    }
  }
  return package(entries);
}

Term apic_routing() {
  return routing_table([](unsigned slot, unsigned pin) {
    return Terms{integer(0), integer(ioapic_pin_for(slot, pin))};
  });
}

Term link_routing() {
  return routing_table([](unsigned slot, unsigned pin) {
    return Terms{path("\\_SB.PC00.ISA." + aml_link_name(pirq_link_for(slot, pin))), integer(0)};
  });
}

/// _OSC (ACPI 6.4, 6.2.11; PCI Firmware 3.0, 4.5.1): the OS may have the PCI Express capability
/// structures; hot-plug, PME and AER, which the machine does not have, stay with the platform.
Term operating_system_capabilities() {
  constexpr u64 pcie_capability = 1u << 4, unknown_uuid = 1u << 2, unknown_revision = 1u << 3,
                masked = 1u << 4;
  const Term status = path("CDW1"), control = path("CDW3"), granted = local(0);
  const auto report = [&status](u64 flag) { return or_(status, integer(flag), status); };
  return method(
      "_OSC", 4,
      {create_dword_field(argument(3), 0, "CDW1"),
       if_(equal(argument(0), uuid("33db4d5b-1ff7-401c-9657-7441c03dd766")),
           {create_dword_field(argument(3), 8, "CDW3"),
            and_(control, integer(pcie_capability), granted),
            if_(not_(equal(argument(1), integer(1))), {report(unknown_revision)}),
            if_(not_(equal(granted, control)), {report(masked)}), store(granted, control)}),
       else_({report(unknown_uuid)}), return_(argument(3))});
}

}  // namespace

Term aml_pci_root(const AcpiConfig& config) {
  return device("PC00",
                {name("_HID", eisa_id("PNP0A08")), name("_CID", eisa_id("PNP0A03")),
                 name("_UID", integer(0)), name("_BBN", integer(0)),
                 name("_CRS", root_resources(config)), name("APRT", apic_routing()),
                 name("LPRT", link_routing()),
                 method("_PRT", 0,
                        {if_(path("PICM"), {return_(path("APRT"))}), return_(path("LPRT"))}),
                 operating_system_capabilities(), aml_isa_bridge(config)});
}

}  // namespace bhyve::platform
