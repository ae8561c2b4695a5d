/* MSI-X: the table and the pending bits with the accesses that they take, masks for each vector and for the
 * function, messages that wait, and what there is when it is off (PCI Local Bus 3.0, 6.8.2).
 * @options -s 4,pci-testdev,msi=4,msix=70
 */
#include "pci.h"

enum { CARD = BDF(4, 0), ON = COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER, VECTORS = 70, FIRST = 0x60, PIN = 17 };
enum { ENABLE = 0x8000, FUNCTION_MASK = 0x4000 };
static volatile u64 counts[256], lines;
static u64 table, pba;
static unsigned cap;

static void on_vector(struct Frame* f) {
  ++counts[f->vector];
  apic_eoi();
}
static void on_pin(struct Frame* f) {
  (void)f;
  ++lines;
  card_write(CARD, REG_LINE, 0);
  apic_eoi();
}
INLINE u64 entry(unsigned n) { return table + 16 * n; }
INLINE void mask(unsigned n, u32 masked) { AT(u32, entry(n) + 12) = masked; }
INLINE u64 pending(unsigned qword) { return AT(u64, pba + 8 * qword); }
INLINE void control(unsigned bits) { config_write16(CARD, cap + 2, (u16)bits); }
static void program(unsigned n, u32 vector) {
  AT(u32, entry(n)) = 0xfee00000;
  AT(u32, entry(n) + 4) = 0;
  AT(u32, entry(n) + 8) = vector;
}
// How often `vector` came since the last time it was asked.
static u64 came(unsigned vector) {
  static u64 seen[256];
  open_window();
  const u64 got = counts[vector] - seen[vector];
  seen[vector] = counts[vector];
  return got;
}

static void accesses(void) {
  CHECK_EQ(config_read16(CARD, cap + 2), VECTORS - 1);
  for (unsigned n = 0; n < VECTORS; ++n) {
    CHECK_EQ(AT(u64, entry(n)), 0);
    CHECK_EQ(AT(u64, entry(n) + 8), 1ull << 32);  // masked
  }
  AT(u64, entry(3)) = 0x11112222fee03337;
  AT(u64, entry(3) + 8) = 0xfffffffe44445555;  // reserved bits of the control word are not there
  CHECK_EQ(AT(u32, entry(3)), 0xfee03334);
  CHECK_EQ(AT(u32, entry(3) + 4), 0x11112222);
  CHECK_EQ(AT(u32, entry(3) + 8), 0x44445555);
  CHECK_EQ(AT(u32, entry(3) + 12), 0);
  mask(3, ~0u);
  CHECK_EQ(AT(u32, entry(3) + 12), 1);
  AT(u32, entry(3) + 4) = 0xabcdef01;
  CHECK_EQ(AT(u64, entry(3)), 0xabcdef01fee03334);
  AT(u8, entry(3)) = 0;  // 4 and 8 bytes only, aligned
  AT(u16, entry(3) + 2) = 0;
  AT(u64, entry(3) + 4) = 0;
  CHECK_EQ(AT(u64, entry(3)), 0xabcdef01fee03334);
  CHECK_EQ(AT(u8, entry(3)), 0xff);
  CHECK_EQ(AT(u64, entry(3) + 4), ~0ull);
  AT(u64, entry(VECTORS)) = ~0ull;  // behind the table
  CHECK_EQ(AT(u64, entry(VECTORS)), 0);
  AT(u64, pba) = ~0ull;  // pending bits are read-only
  AT(u32, pba + 8) = ~0u;
  CHECK_EQ(pending(0), 0);
  CHECK_EQ(AT(u32, pba + 4), 0);
  CHECK_EQ(pending(1), 0);
}

static void every_vector(void) {
  for (unsigned n = 0; n < VECTORS; ++n) {
    program(n, FIRST + n);
    mask(n, 0);
  }
  CHECK_EQ(card_notify(CARD, 0), SENT_LINE);  // not enabled yet
  CHECK_EQ(came(FIRST), 0);
  card_write(CARD, REG_LINE, 0);
  control(ENABLE);
  for (unsigned n = 0; n < VECTORS; ++n) {
    CHECK_EQ(card_notify(CARD, n), SENT_MESSAGE);
    CHECK_EQ(came(FIRST + n), 1);
  }
  CHECK_EQ(card_notify(CARD, VECTORS), SENT_MESSAGE);  // there is none
  CHECK_EQ(card_notify(CARD, ~0u), SENT_MESSAGE);
  program(2, FIRST + 40);  // any vector to anywhere
  card_notify(CARD, 2);
  CHECK_EQ(came(FIRST + 40), 1);
  program(2, FIRST + 2);
}

static void masks(void) {
  mask(5, 1);
  mask(69, 1);
  for (unsigned i = 0; i < 3; ++i) {
    card_notify(CARD, 5);
    card_notify(CARD, 69);
  }
  CHECK_EQ(came(FIRST + 5) + came(FIRST + 69), 0);
  CHECK_EQ(pending(0), 1 << 5);
  CHECK_EQ(AT(u32, pba + 8), 1 << 5);
  CHECK_EQ(pending(1), 1 << 5);
  program(5, FIRST + 41);  // changed while masked
  mask(5, 0);
  CHECK_EQ(came(FIRST + 41), 1);
  CHECK_EQ(came(FIRST + 5), 0);
  CHECK_EQ(pending(0), 0);
  program(5, FIRST + 5);
  mask(69, 0);
  CHECK_EQ(came(FIRST + 69), 1);
  CHECK_EQ(pending(1), 0);

  control(ENABLE | FUNCTION_MASK);
  mask(10, 1);
  for (unsigned n = 8; n < 12; ++n) card_notify(CARD, n);
  CHECK_EQ(pending(0), 0xf00);
  mask(9, 1);
  mask(9, 0);  // the function's mask is over the vector's
  for (unsigned n = 8; n < 12; ++n) CHECK_EQ(came(FIRST + n), 0);
  control(ENABLE);
  for (unsigned n = 8; n < 12; ++n) CHECK_EQ(came(FIRST + n), n != 10);
  CHECK_EQ(pending(0), 0x400);
  mask(10, 0);
  CHECK_EQ(came(FIRST + 10), 1);
  CHECK_EQ(pending(0), 0);
}

static void gates(void) {
  set_command(CARD, COMMAND_IO | COMMAND_MEMORY);  // it may not write to memory: messages wait
  CHECK_EQ(card_notify(CARD, 7), SENT_MESSAGE);
  CHECK_EQ(came(FIRST + 7), 0);
  CHECK_EQ(pending(0), 1 << 7);
  set_command(CARD, ON);
  CHECK_EQ(came(FIRST + 7), 1);
  set_command(CARD, COMMAND_IO | COMMAND_MASTER);  // the table is out of sight and works
  CHECK_EQ(AT(u32, entry(7) + 8), ~0u);
  CHECK_EQ(card_notify(CARD, 7), SENT_MESSAGE);
  CHECK_EQ(came(FIRST + 7), 1);
  set_command(CARD, ON);
  CHECK_EQ(AT(u32, entry(7) + 8), FIRST + 7);
  config_write(CARD, PCI_BAR0 + 16, 0xc8000000);  // the table moves and keeps what it has
  map_device(0xc8000000);
  CHECK_EQ(AT(u32, 0xc8000000 + 16 * 7 + 8), FIRST + 7);
  config_write(CARD, PCI_BAR0 + 16, (u32)table);
}

static void other_ways(void) {
  ioapic_route(PIN, 0, 0xa000 | 0x50);
  set_handler(0x50, on_pin);
  card_write(CARD, REG_LINE, 1);  // no line while messages are on
  CHECK_EQ(came(FIRST), 0);
  CHECK_EQ(lines, 0);
  control(0);
  CHECK_EQ(came(FIRST), 0);
  CHECK_EQ(lines, 1);
  CHECK_EQ(card_notify(CARD, 4), SENT_LINE);
  CHECK_EQ(came(FIRST + 4), 0);
  CHECK_EQ(lines, 2);
  const unsigned msi = capability(CARD, CAP_MSI);  // MSI instead
  config_write(CARD, msi + 4, 0xfee00000);
  config_write16(CARD, msi + 12, FIRST + 44);
  config_write16(CARD, msi + 2, 1);
  CHECK_EQ(card_notify(CARD, 4), SENT_MESSAGE);
  CHECK_EQ(came(FIRST + 44), 1);
  CHECK_EQ(lines, 2);
  config_write16(CARD, msi + 2, 0);
  control(ENABLE);
  CHECK_EQ(card_notify(CARD, 4), SENT_MESSAGE);
  CHECK_EQ(came(FIRST + 4), 1);
}

static void asleep(void) {
  for (unsigned i = 0; i < VECTORS; ++i) {
    const u64 wanted = counts[FIRST + i] + 1;
    card_write(CARD, REG_LATER, i);
    sleep_until(&counts[FIRST + i], wanted);
  }
}

void test(void) {
  cli();
  apic_start();
  for (unsigned n = 0; n < VECTORS; ++n) set_handler(FIRST + n, on_vector);
  cap = capability(CARD, CAP_MSIX);
  set_command(CARD, ON);
  table = bar_address(CARD, config_read(CARD, cap + 4) & 7) + (config_read(CARD, cap + 4) & ~7u);
  pba = bar_address(CARD, config_read(CARD, cap + 8) & 7) + (config_read(CARD, cap + 8) & ~7u);
  map_device(table);
  accesses();
  every_vector();
  masks();
  gates();
  other_ways();
  asleep();
  CHECK_EQ(apic_errors(), 0);
  passed();
}
