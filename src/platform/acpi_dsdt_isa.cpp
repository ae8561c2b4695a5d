#include "platform/acpi_dsdt_isa.hpp"

#include "base/bits.hpp"
#include "platform/aml_resource.hpp"
#include "platform/layout.hpp"
#include "platform/pci_routing.hpp"

namespace bhyve::platform {
namespace {

using namespace aml;

constexpr u16 irq_mask(unsigned irq) { return static_cast<u16>(bit(irq)); }

/// A device with fixed resources.
Term fixed_device(std::string_view object, std::string_view hid, const Terms& resources) {
  return device(object, {name("_HID", eisa_id(hid)), name("_CRS", resource_template(resources))});
}

std::string pirq_name(unsigned link) { return std::string("PIR") + static_cast<char>('A' + link); }

/// The PIRQ registers in the bridge's configuration space.
Term pirq_registers() {
  static_assert(pirq_register(0) == 0x60 && pirq_register(4) == 0x68);
  return op_region("LPCR", Space::pci_config, 0, 0x100) +
         byte_field("LPCR", {{"", 8 * 0x60}, {"PIRA", 8}, {"PIRB", 8}, {"PIRC", 8}, {"PIRD", 8},
                             {"", 8 * 4}, {"PIRE", 8}, {"PIRF", 8}, {"PIRG", 8}, {"PIRH", 8}});
}

/// An interrupt link (ACPI 6.4, 6.2.13): _SRS writes the PIRQ register, _CRS reads it.
Term link_device(unsigned link, u16 legal) {
  constexpr u64 mask_offset = 1;  // of the IRQ descriptor
  const Term reg = path(pirq_name(link)), off = integer(pirq_not_routed);
  return device(
      aml_link_name(link),
      {name("_HID", eisa_id("PNP0C0F")), name("_UID", integer(link + 1)),
       name("_PRS", resource_template({irq_level_shared(legal)})),
       name("CURR", resource_template({irq_level_shared(0)})),
       create_word_field(path("CURR"), mask_offset, "CIRQ"),
       method("_STA", 0, {if_(and_(reg, off), {return_(integer(0x09))}), return_(integer(0x0b))}),
       method("_CRS", 0,
              {if_(and_(reg, off), {store(integer(0), path("CIRQ"))}),
               else_({shift_left(integer(1), and_(reg, integer(pirq_irq_mask)), path("CIRQ"))}),
               return_(path("CURR"))}),
       method("_DIS", 0, {store(off, reg)}),
       method("_SRS", 1,
              {create_word_field(argument(0), mask_offset, "SIRQ"),
               find_set_right_bit(path("SIRQ"), local(0)),
               if_(local(0), {decrement(local(0)), store(local(0), reg)})})});
}

/// Ports and memory that belong to the board and to no other device.
Term system_resources() {
  return device(
      "SIO", {name("_HID", eisa_id("PNP0C02")), name("_UID", integer(0)),
              name("_CRS", resource_template(
                               {io(layout::port_speaker, 1), io(layout::port_post, 1),
                                io(layout::port_smi_command, 2), io(layout::port_pm1_event, 4),
                                io(layout::port_pm1_control, 2), io(layout::port_pm_timer, 4),
                                io(layout::port_gpe0, layout::port_gpe0_length),
                                io(layout::port_elcr, 2),
                                io(layout::port_hotplug, layout::port_hotplug_length),
                                memory32_fixed(true, static_cast<u32>(layout::pci_ecam.value()),
                                               static_cast<u32>(layout::pci_ecam_size))}))});
}

Terms timers_and_pic(const AcpiConfig& config) {
  Terms list{
      fixed_device("PIC", "PNP0000",
                   {io(layout::port_pic_master, 2), io(layout::port_pic_slave, 2),
                    irq(irq_mask(2))}),
      fixed_device("TIMR", "PNP0100", {io(layout::port_pit, 4), irq(irq_mask(layout::irq_pit))}),
      fixed_device("RTC", "PNP0B00", {io(layout::port_rtc, 2), irq(irq_mask(layout::irq_rtc))}),
  };
  if (config.hpet) {
    list.push_back(fixed_device(
        "HPET", "PNP0103",
        {memory32_fixed(false, static_cast<u32>(layout::hpet.value()), layout::hpet_size)}));
  }
  return list;
}

Terms keyboard_and_mouse() {
  return {
      fixed_device("KBD", "PNP0303",
                   {io(layout::port_kbd_data, 1), io(layout::port_kbd_command, 1),
                    irq(irq_mask(layout::irq_keyboard))}),
      fixed_device("MOU", "PNP0F13", {irq(irq_mask(layout::irq_mouse))}),
  };
}

Term uart(unsigned index) {
  struct Place {
    u16 port;
    unsigned irq;
  };
  constexpr Place places[] = {{layout::port_com1, layout::irq_com1},
                              {layout::port_com2, layout::irq_com2},
                              {layout::port_com3, layout::irq_com3},
                              {layout::port_com4, layout::irq_com4}};
  constexpr u8 registers = 8;
  const Place& place = places[index];
  return device("COM" + std::to_string(index + 1),
                {name("_HID", eisa_id("PNP0501")), name("_UID", integer(index + 1)),
                 name("_CRS", resource_template({io(place.port, registers),
                                                 irq(irq_mask(place.irq))}))});
}

}  // namespace

std::string aml_link_name(unsigned link) {
  return std::string("LNK") + static_cast<char>('A' + link);
}

Term aml_isa_bridge(const AcpiConfig& config) {
  Terms body{name("_ADR", integer(u64{config.lpc_slot} << 16)), pirq_registers()};
  const u16 legal = pirq_legal_irqs(config.uarts, config.i8042);
  for (unsigned link = 0; link < pirq_links; ++link) body.push_back(link_device(link, legal));
  body.push_back(system_resources());
  for (Term& t : timers_and_pic(config)) body.push_back(std::move(t));
  if (config.i8042) {
    for (Term& t : keyboard_and_mouse()) body.push_back(std::move(t));
  }
  for (unsigned i = 0; i < config.uarts.size(); ++i) {
    if (config.uarts[i]) body.push_back(uart(i));
  }
  return device("ISA", body);
}

}  // namespace bhyve::platform
