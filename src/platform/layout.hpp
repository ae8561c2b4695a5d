#pragma once
#include <algorithm>

#include "base/address.hpp"
#include "base/bits.hpp"
#include "base/types.hpp"

/// Every guest-visible address and interrupt number of the machine, in one place.
namespace bhyve::platform::layout {

// Guest-physical memory. RAM is [0, lowmem) and [4 GiB, 4 GiB + highmem).
inline constexpr u64 lowmem_limit_default = 3 * GiB;  ///< start of the PCI hole (vm_set_lowmem_limit)
inline constexpr Gpa highmem_base{4 * GiB};
inline constexpr Gpa ebda{0x9'fc00};                  ///< 1 KiB, reserved in E820
inline constexpr Gpa vga_window{0xa'0000};
inline constexpr Gpa bios_area{0xe'0000};             ///< reserved in E820 up to 1 MiB
inline constexpr Gpa mptable{0xf'0000}, smbios{0xf'1000}, acpi{0xf'2400};
inline constexpr Gpa pci_mmio32_lowest{0xc000'0000}, pci_mmio32_end{0xe000'0000};
inline constexpr u64 lowmem_limit_highest = pci_mmio32_end.value() - 256 * MiB;
/// Window of 32-bit BARs, up to pci_mmio32_end: from C0000000h, or from the end of a lowmem that was
/// raised beyond.
[[nodiscard]] constexpr Gpa pci_mmio32(u64 lowmem) {
  return Gpa(std::max(pci_mmio32_lowest.value(), lowmem));
}
inline constexpr Gpa pci_ecam{0xe000'0000};
inline constexpr u64 pci_ecam_size = 0x1000'0000;     ///< 256 buses x 1 MiB
inline constexpr Gpa ioapic{0xfec0'0000}, hpet{0xfed0'0000}, lapic{0xfee0'0000};
inline constexpr u64 ioapic_size = 0x1000, hpet_size = 0x400, lapic_size = 0x1000;
inline constexpr u64 pci_mmio64_size = 32 * GiB;      ///< at round_up(top of RAM, 32 GiB)
[[nodiscard]] constexpr Gpa pci_mmio64(u64 highmem) {
  return Gpa(align_up(highmem_base.value() + highmem, pci_mmio64_size));
}

// I/O ports.
inline constexpr u16 port_pic_master = 0x20, port_pic_slave = 0xa0, port_elcr = 0x4d0,
                     port_pit = 0x40, port_speaker = 0x61, port_kbd_data = 0x60,
                     port_kbd_command = 0x64, port_rtc = 0x70, port_post = 0x84,
                     port_smi_command = 0xb2, port_com1 = 0x3f8, port_com2 = 0x2f8,
                     port_com3 = 0x3e8, port_com4 = 0x2e8, port_pm1_event = 0x400,
                     port_pm1_control = 0x404, port_pm_timer = 0x408, port_gpe0 = 0x40c,
                     port_pci_address = 0xcf8, port_pci_data = 0xcfc, port_reset = 0xcf9;
inline constexpr u16 pci_io_base = 0x2000;            ///< I/O BARs, up to 0xffff

// Room for hot-plug (architecture decision 16): GPE block and CPU/PCI hot-plug registers.
inline constexpr u16 port_gpe0_length = 4, port_hotplug = 0xae00, port_hotplug_length = 0x40;

// Values behind SMI_CMD (FADT).
inline constexpr u8 acpi_enable = 0xa0, acpi_disable = 0xa1;
inline constexpr u8 s5_sleep_type = 5;

// Interrupts (ISA numbers / global system interrupts).
inline constexpr unsigned irq_pit = 0, irq_keyboard = 1, irq_com2 = 3, irq_com1 = 4, irq_com4 = 3,
                          irq_com3 = 4, irq_rtc = 8, irq_sci = 9, irq_mouse = 12;
inline constexpr unsigned ioapic_pins = 32;
inline constexpr unsigned ioapic_pci_first = 16;      ///< PCI INTx use pins 16..31
inline constexpr unsigned gsi_pit = 2;                ///< MADT override: IRQ 0 -> pin 2

}  // namespace bhyve::platform::layout
