#include "platform/acpi_madt.hpp"

#include <algorithm>

#include "platform/acpi_table.hpp"
#include "platform/layout.hpp"

namespace bhyve::platform {
namespace {

/// Interrupt controller structure types (ACPI 6.4, table 5.45).
enum class Entry : u8 {
  local_apic = 0, io_apic = 1, override = 2, local_apic_nmi = 4, x2apic = 9, x2apic_nmi = 10
};

constexpr u32 pcat_compatible = 1;  ///< there is a PIC pair as well
constexpr u32 cpu_enabled = 1;
constexpr u32 max_xapic_id = 254;
/// MPS INTI flags (table 5.50).
constexpr u16 edge_active_high = 0b01'01, level_active_low = 0b11'11;
constexpr u8 lint1 = 1;

ByteWriter& entry(ByteWriter& out, Entry type, u8 length) {
  return out.put_u8(static_cast<u8>(type)).put_u8(length);
}

void put_cpu(ByteWriter& out, u32 uid, const AcpiCpu& cpu) {
  const u32 flags = cpu.present ? cpu_enabled : 0;
  if (cpu.apic_id <= max_xapic_id && uid <= max_xapic_id) {
    entry(out, Entry::local_apic, 8).put_u8(uid).put_u8(cpu.apic_id).put_u32(flags);
  } else {
    entry(out, Entry::x2apic, 16).put_u16(0).put_u32(cpu.apic_id).put_u32(flags).put_u32(uid);
  }
}

void put_override(ByteWriter& out, unsigned irq, unsigned gsi, u16 flags) {
  constexpr u8 isa_bus = 0;
  entry(out, Entry::override, 10).put_u8(isa_bus).put_u8(irq).put_u32(gsi).put_u16(flags);
}

}  // namespace

std::vector<u8> make_madt(const AcpiConfig& config) {
  constexpr u8 io_apic_id = 0;
  constexpr u32 gsi_base = 0;
  AcpiTable table("APIC", 3);
  ByteWriter& out = table.body();
  out.put_u32(layout::lapic.value()).put_u32(pcat_compatible);

  u32 uid = 0;
  for (const AcpiCpu& cpu : config.cpus) put_cpu(out, uid++, cpu);

  entry(out, Entry::io_apic, 12).put_u8(io_apic_id).put_u8(0).put_u32(layout::ioapic.value());
  out.put_u32(gsi_base);
  put_override(out, layout::irq_pit, layout::gsi_pit, edge_active_high);
  put_override(out, layout::irq_sci, layout::irq_sci, level_active_low);

  constexpr u8 all_cpus = 0xff;
  entry(out, Entry::local_apic_nmi, 6).put_u8(all_cpus).put_u16(edge_active_high).put_u8(lint1);
  const bool big_ids = std::any_of(config.cpus.begin(), config.cpus.end(),
                                   [](const AcpiCpu& c) { return c.apic_id > max_xapic_id; });
  if (big_ids) {
    entry(out, Entry::x2apic_nmi, 12).put_u16(edge_active_high).put_u32(~u32{0}).put_u8(lint1);
    out.put_zeros(3);
  }
  return table.finish();
}

}  // namespace bhyve::platform
