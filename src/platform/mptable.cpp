#include "platform/mptable.hpp"

#include "platform/byte_writer.hpp"
#include "platform/layout.hpp"
#include "platform/pci_routing.hpp"

namespace bhyve::platform {
namespace {

constexpr u8 spec_revision = 4;
constexpr usize pointer_size = 16;
constexpr u32 max_apic_id = 254;
constexpr u8 bus_pci = 0, bus_isa = 1, io_apic_id = 0, all_lapics = 0xff;
constexpr unsigned isa_irqs = 16;

enum class Entry : u8 { processor = 0, bus = 1, io_apic = 2, io_interrupt = 3, local_interrupt = 4 };
enum class Interrupt : u8 { vectored = 0, nmi = 1, smi = 2, ext_int = 3 };

/// Flags of interrupt entries (table 4-10): polarity in bits 1-0, trigger in bits 3-2.
constexpr u16 conforms = 0, level_active_low = 0b11'11;

/// Entries of the base table and their count.
class Entries final {
 public:
  void processor(u32 apic_id, bool bootstrap) {
    constexpr u8 lapic_version = 0x10, enabled = 1, boot = 2;
    constexpr u32 family6_model26_step5 = 0x106a5, features = 0xbfeb'fbff;
    add(Entry::processor).put_u8(apic_id).put_u8(lapic_version)
        .put_u8(bootstrap ? enabled | boot : enabled).put_u32(family6_model26_step5)
        .put_u32(features).put_zeros(8);
  }
  void bus(u8 id, std::string_view type) { add(Entry::bus).put_u8(id).put_text(type, 6); }
  void io_apic() {
    constexpr u8 version = 0x11, usable = 1;
    add(Entry::io_apic).put_u8(io_apic_id).put_u8(version).put_u8(usable)
        .put_u32(layout::ioapic.value());
  }
  void interrupt(Entry entry, Interrupt type, u16 flags, u8 source_bus, unsigned source_irq,
                 u8 destination, unsigned pin) {
    add(entry).put_u8(static_cast<u8>(type)).put_u16(flags).put_u8(source_bus).put_u8(source_irq)
        .put_u8(destination).put_u8(pin);
  }
  [[nodiscard]] u16 count() const { return count_; }
  [[nodiscard]] const std::vector<u8>& bytes() const { return out_.bytes(); }

 private:
  ByteWriter& add(Entry entry) {
    ++count_;
    return out_.put_u8(static_cast<u8>(entry));
  }
  ByteWriter out_;
  u16 count_ = 0;
};

/// The PIC hangs on pin 0, the PIT's IRQ 0 on pin 2, the SCI is level-triggered.
void add_isa_interrupts(Entries& entries) {
  for (unsigned pin = 0; pin < isa_irqs; ++pin) {
    const Interrupt type = pin == 0 ? Interrupt::ext_int : Interrupt::vectored;
    const u16 flags = pin == layout::irq_sci ? level_active_low : conforms;
    const unsigned irq = pin == layout::gsi_pit ? layout::irq_pit : pin;
    entries.interrupt(Entry::io_interrupt, type, flags, bus_isa, irq, io_apic_id, pin);
  }
}

void add_pci_interrupts(Entries& entries, const std::vector<unsigned>& slots) {
  for (const unsigned slot : slots) {
    for (unsigned pin = 1; pin <= pci_int_pins; ++pin) {
      entries.interrupt(Entry::io_interrupt, Interrupt::vectored, conforms, bus_pci,
                        slot << 2 | (pin - 1), io_apic_id, ioapic_pin_for(slot, pin));
    }
  }
}

ByteWriter floating_pointer() {
  constexpr u8 paragraphs = 1;
  constexpr usize checksum_offset = 10;
  ByteWriter out;
  out.put_text("_MP_", 4).put_u32(layout::mptable.value() + pointer_size).put_u8(paragraphs);
  out.put_u8(spec_revision).put_u8(0).put_zeros(5);  // features: a table, no IMCR
  out.set_checksum(checksum_offset, 0, pointer_size);
  return out;
}

std::vector<u8> configuration_table(const Entries& entries) {
  constexpr usize header_size = 44, checksum_offset = 7;
  ByteWriter out;
  out.put_text("PCMP", 4).put_u16(header_size + entries.bytes().size()).put_u8(spec_revision);
  out.put_u8(0).put_text("BHyVe", 8).put_text("Hypervisor", 12);
  out.put_u32(0).put_u16(0).put_u16(entries.count()).put_u32(layout::lapic.value());
  out.put_u16(0).put_u8(0).put_u8(0).put_bytes(entries.bytes());
  out.set_checksum(checksum_offset, 0, out.size());
  return out.take();
}

}  // namespace

Result<GuestBlob> make_mptable(const MpTableConfig& config) {
  Entries entries;
  for (usize i = 0; i < config.apic_ids.size(); ++i) {
    if (config.apic_ids[i] > max_apic_id) {
      return fail(E2BIG, "the MP table cannot describe APIC id {} (at most {}): use -Y",
                  config.apic_ids[i], max_apic_id);
    }
    entries.processor(config.apic_ids[i], i == 0);
  }
  entries.bus(bus_pci, "PCI");
  entries.bus(bus_isa, "ISA");
  entries.io_apic();
  add_isa_interrupts(entries);
  add_pci_interrupts(entries, config.pci_slots);
  entries.interrupt(Entry::local_interrupt, Interrupt::ext_int, conforms, bus_isa, 0, all_lapics, 0);
  entries.interrupt(Entry::local_interrupt, Interrupt::nmi, conforms, bus_isa, 0, all_lapics, 1);

  ByteWriter out = floating_pointer();
  out.put_bytes(configuration_table(entries));
  const u64 room = layout::smbios - layout::mptable;
  if (out.size() > room) {
    return fail(E2BIG, "the MP table has no room for {} CPUs: use -Y", config.apic_ids.size());
  }
  return GuestBlob{layout::mptable, out.take()};
}

}  // namespace bhyve::platform
