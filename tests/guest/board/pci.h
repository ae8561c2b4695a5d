#pragma once
// Configuration space by both mechanisms, and the registers of -s pci-testdev (bhyve(8)).
#include "apic.h"

enum {
  PCI_COMMAND = 4, PCI_STATUS = 6, PCI_HEADER = 0xe, PCI_BAR0 = 0x10, PCI_ROM = 0x30, PCI_CAPABILITIES = 0x34,
  PCI_LINE = 0x3c, PCI_PIN = 0x3d,
  COMMAND_IO = 1, COMMAND_MEMORY = 2, COMMAND_MASTER = 4, COMMAND_NO_INTX = 0x400, STATUS_INTX = 8,
  CAP_MSI = 5, CAP_VENDOR = 9, CAP_EXPRESS = 0x10, CAP_MSIX = 0x11
};
#define BDF(slot, function) ((slot) << 3 | (function))
#define ECAM_PAGE 0xe0000000ull
#define LPC BDF(31, 0)

INLINE void config_select(unsigned bdf, unsigned reg) { outl(0xcf8, 1u << 31 | bdf << 8 | (reg & 0xfc)); }
INLINE u32 config_read(unsigned bdf, unsigned reg) { config_select(bdf, reg); return inl(0xcfc); }
INLINE u16 config_read16(unsigned bdf, unsigned reg) {
  config_select(bdf, reg);
  return inw((u16)(0xcfc + (reg & 3)));
}
INLINE u8 config_read8(unsigned bdf, unsigned reg) {
  config_select(bdf, reg);
  return inb((u16)(0xcfc + (reg & 3)));
}
INLINE void config_write(unsigned bdf, unsigned reg, u32 value) { config_select(bdf, reg); outl(0xcfc, value); }
INLINE void config_write16(unsigned bdf, unsigned reg, u16 value) {
  config_select(bdf, reg);
  outw((u16)(0xcfc + (reg & 3)), value);
}
INLINE void config_write8(unsigned bdf, unsigned reg, u8 value) {
  config_select(bdf, reg);
  outb((u16)(0xcfc + (reg & 3)), value);
}
INLINE u64 ecam(unsigned bdf, unsigned reg) { return ECAM_PAGE + ((u64)bdf << 12) + reg; }
// Where a capability is; 0: the function has none. A chain that does not end is a failure.
static __attribute__((unused)) unsigned capability(unsigned bdf, u8 id) {
  if (!(config_read16(bdf, PCI_STATUS) & 0x10)) return 0;
  unsigned left = 48;
  for (unsigned at = config_read8(bdf, PCI_CAPABILITIES); at; at = config_read8(bdf, at + 1)) {
    CHECK(at >= 0x40 && !(at & 3) && left--);
    if (config_read8(bdf, at) == id) return at;
  }
  return 0;
}
INLINE u64 bar_address(unsigned bdf, unsigned bar) {
  const u32 low = config_read(bdf, PCI_BAR0 + 4 * bar);
  if (low & 1) return low & ~3u;
  return (low & ~15u) | ((low & 6) == 4 ? (u64)config_read(bdf, PCI_BAR0 + 4 * bar + 4) << 32 : 0);
}
INLINE void set_command(unsigned bdf, u16 bits) { config_write16(bdf, PCI_COMMAND, bits); }
// Maps the 2 MiB around a device's address.
INLINE void map_device(u64 address) {
  const u64 page = address & ~0x1fffffull;
  map_page(page, page, DEVICE_PAGE, 2);
}

// ---- the card ----------------------------------------------------------------------------------------
enum { CARD_ID = 0x54431275, CARD_IDENTITY = 0x54494350 };
enum { REG_IDENTITY = 0, REG_SCRATCH = 4, REG_LINE = 8, REG_NOTIFY = 12, REG_LATER = 16, REG_COUNT = 20 };
enum { SENT_NOTHING, SENT_MESSAGE, SENT_LINE };
INLINE u16 card_ports(unsigned bdf) { return (u16)bar_address(bdf, 0); }
INLINE u32 card_read(unsigned bdf, unsigned reg) { return inl((u16)(card_ports(bdf) + reg)); }
INLINE void card_write(unsigned bdf, unsigned reg, u32 value) { outl((u16)(card_ports(bdf) + reg), value); }
// Raises `vector` and says how it went out.
INLINE u32 card_notify(unsigned bdf, u32 vector) {
  card_write(bdf, REG_NOTIFY, vector);
  return card_read(bdf, REG_NOTIFY);
}

// The program's end: run_board.py looks for the word.
INLINE void passed(void) { put("passed\n"); }
// Sleeps until *counter has come to `wanted`, which an interrupt counts.
INLINE void sleep_until(volatile u64* counter, u64 wanted) {
  cli();
  while (*counter < wanted) asm volatile("sti; hlt; cli" ::: "memory");
}
