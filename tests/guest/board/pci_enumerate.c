/* Configuration space by ports and by ECAM: which functions there are, what both mechanisms agree on, what
 * is read-only, capabilities, and the sizes of BARs of every kind (PCI Local Bus 3.0, 3.2.2.3 and chapter
 * 6; PCI Express Base 7.2).
 * @options -s 4:0,pci-testdev -s 4:1,pci-testdev,msi=0 -s 4:7,pci-testdev,msix=0,rom=false
 * @options -s 5,pci-testdev,window=256M,msix=2048
 */
#include "pci.h"

enum { FIRST = BDF(4, 0), NO_MSI = BDF(4, 1), NO_MSIX = BDF(4, 7), LARGE = BDF(5, 0) };
static const unsigned present[] = {BDF(0, 0), FIRST, NO_MSI, NO_MSIX, LARGE, LPC};
static const unsigned cards[] = {FIRST, NO_MSI, NO_MSIX, LARGE};
#define EACH(item, list) (const unsigned* item = (list); item < (list) + sizeof(list) / sizeof *(list); ++item)

static void functions(void) {
  for (unsigned bdf = 0, found = 0; bdf < 256; ++bdf) {
    const int here = found < sizeof present / sizeof *present && present[found] == bdf;
    if (here) ++found;
    const u32 id = config_read(bdf, 0);
    CHECK_EQ(id == ~0u, !here);
    CHECK_EQ(AT(u32, ecam(bdf, 0)), id);
    if (here) CHECK_EQ(config_read8(bdf, PCI_HEADER), bdf >> 3 == 4 ? 0x80 : 0);
    else CHECK_EQ(AT(u64, ecam(bdf, 0x100)), ~0ull);
  }
  for EACH(card, cards) CHECK_EQ(config_read(*card, 0), CARD_ID);
  for (unsigned bus = 1; bus < 256; bus += 127) CHECK_EQ(config_read(bus << 8, 0), ~0u);
  map_device(ECAM_PAGE + (255u << 20));
  CHECK_EQ(AT(u32, ecam(255 << 8, 0)), ~0u);
}

static void mechanisms(void) {
  for EACH(function, present)
    for (unsigned reg = 0; reg < 256; reg += 4) {
      const u32 value = config_read(*function, reg);
      CHECK_EQ(AT(u32, ecam(*function, reg)), value);
      for (unsigned byte = 0; byte < 4; ++byte) {
        CHECK_EQ(config_read8(*function, reg + byte), value >> 8 * byte & 0xff);
        CHECK_EQ(AT(u8, ecam(*function, reg + byte)), value >> 8 * byte & 0xff);
      }
      CHECK_EQ(config_read16(*function, reg + 2), value >> 16);
      CHECK_EQ(AT(u16, ecam(*function, reg + 2)), value >> 16);
      if (reg % 8 == 0)
        CHECK_EQ(AT(u64, ecam(*function, reg)), value | (u64)config_read(*function, reg + 4) << 32);
    }
  CHECK_EQ(AT(u32, ecam(FIRST, 1)), ~0u);  // across a register: nothing answers
  config_select(FIRST, 0);
  CHECK_EQ(inl(0xcfd), ~0u);
  CHECK_EQ(inw(0xcff), 0xffff);
  outl(0xcf8, 0xffffffff);
  CHECK_EQ(inl(0xcf8), 0x80fffffc);
  outb(0xcf8, 0);  // the address register takes 4 bytes only
  outw(0xcfa, 0);
  CHECK_EQ(inl(0xcf8), 0x80fffffc);
  outl(0xcf8, FIRST << 8);  // not enabled
  CHECK_EQ(inl(0xcfc), ~0u);
}

static void extended_space(void) {
  CHECK_EQ(AT(u32, ecam(BDF(0, 0), 0x100)), 0);
  CHECK_EQ(AT(u32, ecam(BDF(0, 0), 0x104)), ~0u);
  CHECK_EQ(AT(u32, ecam(FIRST, 0x100)), 0x0001000b);
  CHECK_EQ(AT(u32, ecam(FIRST, 0x104)), 0x00c05443);
  AT(u32, ecam(FIRST, 0x108)) = 0x12345678;
  AT(u8, ecam(FIRST, 0x109)) = 0xaa;
  CHECK_EQ(AT(u32, ecam(FIRST, 0x108)), 0x1234aa78);
  CHECK_EQ(AT(u32, ecam(NO_MSI, 0x108)), 0);
  AT(u32, ecam(FIRST, 0x100)) = 0;
  CHECK_EQ(AT(u32, ecam(FIRST, 0x100)), 0x0001000b);
  CHECK_EQ(AT(u32, ecam(FIRST, 0xffc)), 0);
}

static void registers(void) {
  for EACH(card, cards) {
    const u32 ids = config_read(*card, 0), class = config_read(*card, 8), sub = config_read(*card, 0x2c);
    CHECK_EQ(class, 0xff000001);
    config_write(*card, 0, 0);
    config_write(*card, 8, 0);
    config_write(*card, 0x2c, 0);
    config_write8(*card, PCI_HEADER, 0x7f);
    CHECK_EQ(config_read(*card, 0), ids);
    CHECK_EQ(config_read(*card, 8), class);
    CHECK_EQ(config_read(*card, 0x2c), sub);
    CHECK_EQ(config_read8(*card, PCI_HEADER) & 0x7f, 0);
    const u16 command = config_read16(*card, PCI_COMMAND);
    CHECK_EQ(command & 7, COMMAND_IO | COMMAND_MEMORY);  // as firmware leaves it
    set_command(*card, 0xffff);
    CHECK_EQ(config_read16(*card, PCI_COMMAND), 0x0547);
    set_command(*card, command);
    config_write16(*card, PCI_STATUS, 0xffff);
    CHECK_EQ(config_read16(*card, PCI_STATUS), 0x10);
    CHECK_EQ(config_read8(*card, PCI_PIN), 1 + (*card & 3));  // INTA..INTD, over and over
    const unsigned link = (4 + (*card >> 3) + 1 + (*card & 3)) % 8;
    CHECK_EQ(config_read8(*card, PCI_LINE), config_read8(LPC, link < 4 ? 0x60 + link : 0x64 + link));
    config_write8(*card, PCI_LINE, 0x5a);
    CHECK_EQ(config_read8(*card, PCI_LINE), 0x5a);
  }
}

static void capabilities(void) {
  for EACH(card, cards) {
    CHECK(capability(*card, CAP_VENDOR));
    CHECK_EQ(!capability(*card, CAP_MSI), *card == NO_MSI);
    CHECK_EQ(!capability(*card, CAP_MSIX), *card == NO_MSIX);
    const unsigned express = capability(*card, CAP_EXPRESS);
    CHECK_EQ(config_read16(*card, express + 2), 0x92);  // version 2, integrated endpoint
  }
  CHECK_EQ(config_read16(FIRST, capability(FIRST, CAP_MSI) + 2), 0x184);  // 4 vectors, 64 bits, masks
  const unsigned msix = capability(FIRST, CAP_MSIX), large = capability(LARGE, CAP_MSIX);
  CHECK_EQ(config_read16(FIRST, msix + 2), 7);
  CHECK_EQ(config_read(FIRST, msix + 4), 4);
  CHECK_EQ(config_read(FIRST, msix + 8), 0x1004);
  CHECK_EQ(config_read16(LARGE, large + 2), 2047);
  CHECK_EQ(config_read(LARGE, large + 8), 0x8004);
  const unsigned own = capability(FIRST, CAP_VENDOR);
  config_write(FIRST, own, 0);
  CHECK_EQ(config_read(FIRST, own) & 0xff00ff, 0x080009);
  config_write(FIRST, own + 4, 0xdeadbeef);
  CHECK_EQ(config_read(FIRST, own + 4), 0xdeadbeef);
}

// Writes all ones, returns what stays, puts the register back: with decoding off, as the standard asks.
static u32 probe(unsigned bdf, unsigned reg) {
  const u32 before = config_read(bdf, reg);
  const u16 command = config_read16(bdf, PCI_COMMAND);
  set_command(bdf, 0);
  config_write(bdf, reg, ~0u);
  const u32 got = config_read(bdf, reg);
  config_write(bdf, reg, before);
  set_command(bdf, command);
  CHECK_EQ(config_read(bdf, reg), before);
  return got;
}
static void sizes(void) {
  for EACH(card, cards) {
    CHECK_EQ(probe(*card, PCI_BAR0), 0xffffffe1);      // 32 ports
    CHECK_EQ(probe(*card, PCI_BAR0 + 4), 0xfffff000);  // 4 KiB, 32 bits, not prefetchable
    CHECK_EQ(probe(*card, PCI_BAR0 + 8), *card == LARGE ? 0xf000000c : 0xffff000c);  // 64 bits, prefetchable
    CHECK_EQ(probe(*card, PCI_BAR0 + 12), ~0u);
    CHECK_EQ(probe(*card, PCI_BAR0 + 16), *card == NO_MSIX ? 0 : *card == LARGE ? 0xffff0000 : 0xffffe000);
    CHECK_EQ(probe(*card, PCI_BAR0 + 20), 0);
    CHECK_EQ(probe(*card, PCI_ROM), *card == NO_MSIX ? 0 : 0xfffff001);
    CHECK_EQ(probe(*card, 0x28), 0);  // no CardBus, nothing reserved
    CHECK_EQ(probe(*card, 0x38), 0);
  }
}

// Where firmware would have put them: aligned, in their windows, and not over each other.
static void places(void) {
  u64 start[32], end[32];
  unsigned count = 0;
  for EACH(card, cards) {
    for (unsigned bar = 0; bar < 5; ++bar) {
      const u32 mask = probe(*card, PCI_BAR0 + 4 * bar);
      if (!mask || bar == 3) continue;
      const u64 at = bar_address(*card, bar), size = (u32)-(mask & (mask & 1 ? ~3u : ~15u));
      CHECK_EQ(at & (size - 1), 0);
      if (mask & 1) CHECK(at >= 0x2000 && at + size <= 0x10000);
      else if (size > 128 << 20) CHECK(at >= 32ull << 30);
      else CHECK(at >= 0xc0000000 && at + size <= 0xe0000000);
      for (unsigned i = 0; i < count; ++i) CHECK(at + size <= start[i] || at >= end[i]);
      start[count] = at;
      end[count++] = at + size;
    }
    CHECK_EQ(card_read(*card, REG_IDENTITY), CARD_IDENTITY);
    map_device(bar_address(*card, 1));
    CHECK_EQ(AT(u32, bar_address(*card, 1)), CARD_IDENTITY);
    map_device(bar_address(*card, 2));
    AT(u64, bar_address(*card, 2) + 8) = *card;
  }
  for EACH(card, cards) CHECK_EQ(AT(u64, bar_address(*card, 2) + 8), *card);
  CHECK_EQ(count, 15);
}

void test(void) {
  map_device(ECAM_PAGE);
  functions();
  mechanisms();
  extended_space();
  registers();
  capabilities();
  sizes();
  places();
  passed();
}
