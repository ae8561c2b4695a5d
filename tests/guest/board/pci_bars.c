/* BARs that the guest moves: the device follows, as the command register allows; positions that are taken,
 * odd or impossible harm nobody (PCI Local Bus 3.0, 6.2.5).
 * @options -s 4,pci-testdev -s 5,pci-testdev,window=1M
 */
#include "pci.h"

enum { A = BDF(4, 0), B = BDF(5, 0), ON = COMMAND_IO | COMMAND_MEMORY };
#define BASE 0xc8000000ull  // free space, mapped 2 MiB
#define NOTHING 0xffffffffu
static u8 ram[0x8000] __attribute__((aligned(4096)));

static void move(unsigned bdf, unsigned bar, u64 to) {
  config_write(bdf, PCI_BAR0 + 4 * bar, (u32)to);
  if ((config_read(bdf, PCI_BAR0 + 4 * bar) & 7) == 4) config_write(bdf, PCI_BAR0 + 4 * bar + 4, (u32)(to >> 32));
}
INLINE u32 identity_at(u16 port) { return inl((u16)(port + REG_IDENTITY)); }

static void ports(void) {
  const u16 home = card_ports(A);
  card_write(A, REG_SCRATCH, 0xa0a0a0a0);
  card_write(B, REG_SCRATCH, 0xb0b0b0b0);
  for (u16 to = 0x3000; to >= 0x3000; to = (u16)(to + 0x1220)) {  // up to the end of the ports, while decoding
    move(A, 0, to);
    CHECK_EQ(identity_at(home), NOTHING);
    CHECK_EQ(inl((u16)(to + REG_SCRATCH)), 0xa0a0a0a0);
  }
  move(A, 0, 0xffe0);
  CHECK_EQ(identity_at(0xffe0), CARD_IDENTITY);
  move(A, 0, 0x3011);  // the low bits are not there
  CHECK_EQ(config_read(A, PCI_BAR0), 0x3001);
  CHECK_EQ(identity_at(0x3000), CARD_IDENTITY);
  CHECK_EQ(inb(0x3000), 0xff);  // the card takes 4 bytes only
  CHECK_EQ(inl(0x3000 + 0x1c), 0);
  move(A, 0, 0x13000);  // not in the 64 K that there are, nor folded into them
  CHECK_EQ(identity_at(0x3000), NOTHING);
  move(A, 0, 0);  // not assigned
  CHECK_EQ(identity_at(0), NOTHING);
  move(A, 0, 0x3000);
  set_command(A, COMMAND_MEMORY);
  CHECK_EQ(identity_at(0x3000), NOTHING);
  move(A, 0, 0x4000);
  CHECK_EQ(identity_at(0x4000), NOTHING);
  set_command(A, ON);
  CHECK_EQ(inl(0x4000 + REG_SCRATCH), 0xa0a0a0a0);
}

// Two windows at one place: the first stays; when it goes, the other is there.
static void contended_ports(void) {
  move(A, 0, 0x5000);
  move(B, 0, 0x5000);
  CHECK_EQ(inl(0x5000 + REG_SCRATCH), 0xa0a0a0a0);
  move(A, 0, 0x5100);
  CHECK_EQ(inl(0x5000 + REG_SCRATCH), 0xb0b0b0b0);
  CHECK_EQ(inl(0x5100 + REG_SCRATCH), 0xa0a0a0a0);
  move(A, 0, 0x5000);
  set_command(B, COMMAND_MEMORY);
  CHECK_EQ(inl(0x5000 + REG_SCRATCH), 0xa0a0a0a0);
  set_command(B, ON);
  move(B, 0, 0x6000);
  // Over the board's own ports: those stay.
  const u8 mask = inb(0x21);
  outb(0x21, 0xb5);
  static const u16 own[] = {0x20, 0x40, 0x60, 0xa0, 0x400, 0xce0};
  for (unsigned i = 0; i < sizeof own / sizeof *own; ++i) {
    move(B, 0, own[i]);
    CHECK_EQ(inb(0x21), 0xb5);
    CHECK_EQ(config_read(B, 0), CARD_ID);
  }
  outb(0x21, mask);
  move(B, 0, 0x6000);
  CHECK_EQ(inl(0x6000 + REG_SCRATCH), 0xb0b0b0b0);
}

static void memory(void) {
  map_device(BASE);
  move(A, 1, BASE);
  CHECK_EQ(AT(u32, BASE + REG_SCRATCH), 0xa0a0a0a0);
  AT(u32, BASE + REG_SCRATCH) = 0xa1a1a1a1;
  AT(u16, BASE + REG_SCRATCH) = 0;  // the card takes 4 bytes only
  AT(u64, BASE + REG_SCRATCH) = 0;
  CHECK_EQ(AT(u64, BASE + REG_IDENTITY), ~0ull);
  CHECK_EQ(card_read(A, REG_SCRATCH), 0xa1a1a1a1);
  for (u64 to = BASE + 0x3000; to < BASE + 0x1f0000; to += 0x7000) {
    move(A, 1, to | 0xabc);
    CHECK_EQ(config_read(A, PCI_BAR0 + 4), to);
    CHECK_EQ(AT(u32, to + REG_SCRATCH), 0xa1a1a1a1);
    CHECK_EQ(AT(u32, to - 0x1000), NOTHING);
    CHECK_EQ(AT(u32, to + 0x1000), NOTHING);
    CHECK_EQ(AT(u32, BASE), NOTHING);
  }
  move(A, 1, BASE);
  set_command(A, COMMAND_IO);
  CHECK_EQ(AT(u32, BASE), NOTHING);
  set_command(A, ON);
  CHECK_EQ(AT(u32, BASE), CARD_IDENTITY);
  config_write(A, PCI_BAR0 + 4, ~0u);  // sizing while it decodes
  CHECK_EQ(AT(u32, BASE), NOTHING);
  config_write(A, PCI_BAR0 + 4, (u32)BASE);
  CHECK_EQ(AT(u32, BASE), CARD_IDENTITY);
}

static void wide(void) {
  static const u64 places[] = {BASE + 0x100000, 0x1000000000ull, 0x17fff00000ull, 0xd0000000ull, 0x800000000ull};
  move(B, 2, places[0]);
  for (unsigned i = 0; i < 8; ++i) AT(u8, places[0] + i) = (u8)(0x11 * i);
  for (unsigned i = 0; i < sizeof places / sizeof *places; ++i) {
    const u64 at = places[i];
    map_device(at);
    move(B, 2, at);
    CHECK_EQ(bar_address(B, 2), at);
    CHECK_EQ(AT(u64, at), 0x7766554433221100);
    CHECK_EQ(AT(u32, at + 4), 0x77665544);
    CHECK_EQ(AT(u16, at + 6), 0x7766);
    CHECK_EQ(AT(u64, at + 0xff000), 0x7766554433221100);  // 4 KiB again and again
    if (i) CHECK_EQ(AT(u64, places[i - 1]), ~0ull);
  }
  move(B, 2, 0xffffffffffffffffull);  // beyond every address that there is
  CHECK_EQ(bar_address(B, 2), 0xfffffffffff00000ull);
  move(B, 2, places[1]);
  CHECK_EQ(AT(u64, places[1]), 0x7766554433221100);
}

static void contended_memory(void) {
  move(A, 1, BASE);
  move(B, 1, BASE);
  CHECK_EQ(AT(u32, BASE + REG_SCRATCH), 0xa1a1a1a1);
  set_command(A, COMMAND_IO);
  CHECK_EQ(AT(u32, BASE + REG_SCRATCH), 0xb0b0b0b0);
  set_command(A, ON);  // now it waits
  CHECK_EQ(AT(u32, BASE + REG_SCRATCH), 0xb0b0b0b0);
  move(B, 1, BASE + 0x1000);
  CHECK_EQ(AT(u32, BASE + REG_SCRATCH), 0xa1a1a1a1);
  CHECK_EQ(AT(u32, BASE + 0x1000 + REG_SCRATCH), 0xb0b0b0b0);
  move(B, 2, BASE);  // 1 MiB over two windows: it waits for both
  CHECK_EQ(AT(u32, BASE + REG_SCRATCH), 0xa1a1a1a1);
  CHECK_EQ(AT(u64, BASE + 0x2000), ~0ull);
  move(A, 1, BASE + 0x100000);
  CHECK_EQ(AT(u64, BASE + 0x2000), ~0ull);
  move(B, 1, BASE + 0x101000);
  CHECK_EQ(AT(u64, BASE + 0x2000), 0x7766554433221100);
  CHECK_EQ(AT(u64, BASE), 0x7766554433221100);
  move(B, 2, 0x1000000000ull);
}

// Over memory and over the chips: they stay what they are.
static void taken(void) {
  for (u64 i = 0; i < sizeof ram; ++i) ram[i] = (u8)i;
  move(A, 1, (u64)ram);
  for (u64 i = 0; i < sizeof ram; ++i) CHECK_EQ(AT(u8, (u64)ram + i), (u8)i);
  AT(u32, (u64)ram + REG_SCRATCH) = 0;
  CHECK_EQ(card_read(A, REG_SCRATCH), 0xa1a1a1a1);
  apic_start();
  const u32 version = apic_read(APIC_VERSION), ioapic = ioapic_read(1), hpet = (u32)hpet_read(0);
  move(A, 1, LAPIC_PAGE);
  CHECK_EQ(apic_read(APIC_VERSION), version);
  move(A, 1, IOAPIC_PAGE);
  CHECK_EQ(ioapic_read(1), ioapic);
  move(A, 1, HPET_PAGE);
  CHECK_EQ((u32)hpet_read(0), hpet);
  map_device(ECAM_PAGE);
  move(A, 1, ecam(A, 0));
  CHECK_EQ(AT(u32, ecam(A, 0)), CARD_ID);
  move(A, 1, 0);
  CHECK_EQ(config_read(A, PCI_BAR0 + 4), 0);
  move(A, 1, BASE);
  CHECK_EQ(AT(u32, BASE + REG_SCRATCH), 0xa1a1a1a1);
}

static void rom(void) {
  const u64 at = BASE + 0x180000;
  config_write(A, PCI_ROM, (u32)at);
  CHECK_EQ(config_read(A, PCI_ROM), (u32)at);
  CHECK_EQ(AT(u32, at), NOTHING);  // not enabled
  config_write(A, PCI_ROM, (u32)at | 1);
  CHECK_EQ(AT(u16, at), 0xaa55);
  const u64 data = at + AT(u16, at + 0x18);
  CHECK_EQ(AT(u32, data), 0x52494350);  // "PCIR"
  CHECK_EQ(AT(u32, data + 4), CARD_ID);
  u8 sum = 0;
  for (u64 i = 0; i < AT(u8, at + 2) * 512u; ++i) sum = (u8)(sum + AT(u8, at + i));
  CHECK_EQ(sum, 0);
  AT(u32, at) = 0;
  CHECK_EQ(AT(u16, at), 0xaa55);
  config_write(A, PCI_ROM, (u32)(at + 0x5000) | 0x7ff);
  CHECK_EQ(config_read(A, PCI_ROM), (u32)(at + 0x5000) | 1);
  CHECK_EQ(AT(u32, at), NOTHING);
  CHECK_EQ(AT(u16, at + 0x5000), 0xaa55);
  set_command(A, COMMAND_IO);
  CHECK_EQ(AT(u32, at + 0x5000), NOTHING);
  set_command(A, ON);
  config_write(A, PCI_ROM, 0);
  CHECK_EQ(AT(u32, at + 0x5000), NOTHING);
}

// Many moves in a row, each of which lands.
static void often(void) {
  u32 seed = 1;
  for (unsigned i = 0; i < 500; ++i) {
    seed = seed * 1664525 + 1013904223;
    const u64 to = BASE + (seed >> 24) * 0x1000;
    move(A, 1, to);
    AT(u32, to + REG_SCRATCH) = seed;
    CHECK_EQ(card_read(A, REG_SCRATCH), seed);
  }
}

void test(void) {
  ports();
  contended_ports();
  memory();
  wide();
  contended_memory();
  taken();
  rom();
  often();
  passed();
}
