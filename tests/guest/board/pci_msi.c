/* MSI: several vectors, masks and pending bits, bus mastering, and the line when messages are off (PCI Local
 * Bus 3.0, 6.8.1).
 * @options -s 4,pci-testdev,msi=8,msix=0 -s 5,pci-testdev,msi=1,msix=0
 */
#include "pci.h"

enum { CARD = BDF(4, 0), SINGLE = BDF(5, 0), ON = COMMAND_IO | COMMAND_MASTER, VECTOR = 0x60, PIN = 17 };
static volatile u64 counts[8], nmis, lines;
static unsigned cap;

INLINE void count(unsigned n) { ++counts[n]; apic_eoi(); }
#define HANDLER(n) static void on_##n(struct Frame* f) { (void)f; count(n); }
HANDLER(0) HANDLER(1) HANDLER(2) HANDLER(3) HANDLER(4) HANDLER(5) HANDLER(6) HANDLER(7)
static void on_nmi(struct Frame* f) { (void)f; ++nmis; }
static void on_pin(struct Frame* f) {
  (void)f;
  ++lines;
  card_write(CARD, REG_LINE, 0);
  apic_eoi();
}

static void control(unsigned log2_vectors, int enable) {
  config_write16(CARD, cap + 2, (u16)(log2_vectors << 4 | (unsigned)enable));
}
static void message(u64 address, u16 data) {
  config_write(CARD, cap + 4, (u32)address);
  config_write(CARD, cap + 8, (u32)(address >> 32));
  config_write16(CARD, cap + 12, data);
}
static void set_mask(u32 mask) { config_write(CARD, cap + 16, mask); }
static u32 pending(void) { return config_read(CARD, cap + 20); }
// Which vectors came since the last call, a digit each.
static u32 came(void) {
  static u64 seen[8];
  u32 digits = 0;
  open_window();
  for (unsigned n = 0; n < 8; ++n) {
    digits |= (u32)(counts[n] - seen[n]) << 4 * n;
    seen[n] = counts[n];
  }
  return digits;
}

static void registers(void) {
  CHECK_EQ(config_read16(CARD, cap + 2), 0x186);  // 8 vectors wanted, 64 bits, masks
  control(3, 0);
  CHECK_EQ(config_read16(CARD, cap + 2), 0x1b6);
  message(0xffffffffffffffff, 0xffff);
  CHECK_EQ(config_read(CARD, cap + 4), 0xfffffffc);
  CHECK_EQ(config_read(CARD, cap + 8), 0xffffffff);
  CHECK_EQ(config_read16(CARD, cap + 12), 0xffff);
  set_mask(~0u);
  CHECK_EQ(config_read(CARD, cap + 16), 0xff);
  set_mask(0);
  config_write(CARD, cap + 20, ~0u);
  CHECK_EQ(pending(), 0);
  CHECK_EQ(config_read16(SINGLE, capability(SINGLE, CAP_MSI) + 2), 0x180);
}

static void vectors(void) {
  message(0xfee00000, VECTOR);
  control(3, 1);
  for (unsigned n = 0; n < 8; ++n) {
    CHECK_EQ(card_notify(CARD, n), SENT_MESSAGE);
    CHECK_EQ(came(), 1u << 4 * n);
  }
  control(1, 1);  // the guest gives two: the others fold onto the last
  CHECK_EQ(card_notify(CARD, 0), SENT_MESSAGE);
  CHECK_EQ(card_notify(CARD, 5), SENT_MESSAGE);
  CHECK_EQ(came(), 0x11);
  message(0xfee00000, VECTOR + 7);  // the device puts the vector into the low bits
  CHECK_EQ(card_notify(CARD, 0), SENT_MESSAGE);
  CHECK_EQ(came(), 0x1000000);
  control(7, 1);  // more than there are
  CHECK_EQ(card_notify(CARD, 7), SENT_MESSAGE);
  CHECK_EQ(came(), 0x10000000);
  control(0, 1);
  message(0xfee00000, VECTOR + 3);
  CHECK_EQ(card_notify(CARD, 6), SENT_MESSAGE);
  CHECK_EQ(came(), 0x1000);
  message(0xfee00000, 0x400);  // an NMI
  CHECK_EQ(card_notify(CARD, 0), SENT_MESSAGE);
  CHECK_EQ(came(), 0);
  CHECK_EQ(nmis, 1);
  message(0x1fee00000, VECTOR);  // not where interrupts are
  CHECK_EQ(card_notify(CARD, 0), SENT_MESSAGE);
  CHECK_EQ(came(), 0);
  message(0xfee00000, VECTOR);
}

static void masks(void) {
  control(3, 1);
  set_mask(0x0a);
  for (unsigned n = 0; n < 8; ++n) card_notify(CARD, n);
  card_notify(CARD, 3);
  CHECK_EQ(came(), 0x11110101);
  CHECK_EQ(pending(), 0x0a);
  set_mask(0x08);
  CHECK_EQ(came(), 0x10);
  CHECK_EQ(pending(), 0x08);
  set_mask(0);
  CHECK_EQ(came(), 0x1000);  // once, however often it was raised
  CHECK_EQ(pending(), 0);
  set_mask(4);  // what waits goes out as programmed when it goes
  card_notify(CARD, 2);
  message(0xfee00000, VECTOR + 8);
  set_handler(VECTOR + 10, on_6);
  set_mask(0);
  CHECK_EQ(came(), 0x1000000);
  message(0xfee00000, VECTOR);
  set_mask(1);  // what waits when messages are turned off is forgotten
  card_notify(CARD, 0);
  control(3, 0);
  CHECK_EQ(pending(), 0);
  control(3, 1);
  set_mask(0);
  CHECK_EQ(came(), 0);
}

static void mastering(void) {
  set_command(CARD, COMMAND_IO);
  CHECK_EQ(card_notify(CARD, 1), SENT_MESSAGE);
  CHECK_EQ(came(), 0);
  set_command(CARD, ON);
  CHECK_EQ(came(), 0x10);
}

static void lines_and_messages(void) {
  ioapic_route(PIN, 0, 0xa000 | 0x90);
  set_handler(0x90, on_pin);
  CHECK_EQ(card_notify(CARD, 2), SENT_MESSAGE);
  card_write(CARD, REG_LINE, 1);  // no line while messages are on
  CHECK_EQ(came(), 0x100);
  CHECK_EQ(lines, 0);
  control(3, 0);  // off: here it is
  CHECK_EQ(came(), 0);
  CHECK_EQ(lines, 1);
  CHECK_EQ(card_notify(CARD, 2), SENT_LINE);
  CHECK_EQ(came(), 0);
  CHECK_EQ(lines, 2);
  set_command(CARD, ON | COMMAND_NO_INTX);
  CHECK_EQ(card_notify(CARD, 2), SENT_LINE);
  CHECK_EQ(came(), 0);
  CHECK_EQ(lines, 2);
  control(3, 1);  // turning messages on takes the line away; interrupt disable is none of theirs
  set_command(CARD, ON | COMMAND_NO_INTX);
  CHECK_EQ(card_notify(CARD, 2), SENT_MESSAGE);
  CHECK_EQ(came(), 0x100);
  CHECK_EQ(lines, 2);
  card_write(CARD, REG_LINE, 0);
  set_command(CARD, ON);
}

static void asleep(void) {
  for (u64 i = 0; i < 50; ++i) {
    const u64 wanted = counts[i % 8] + 1;
    card_write(CARD, REG_LATER, (u32)i % 8);
    sleep_until(&counts[i % 8], wanted);
  }
  const unsigned single = capability(SINGLE, CAP_MSI);
  config_write(SINGLE, single + 4, 0xfee00000);
  config_write(SINGLE, single + 8, 0);
  config_write16(SINGLE, single + 12, VECTOR + 5);
  config_write16(SINGLE, single + 2, 1);
  set_command(SINGLE, ON);
  const u64 wanted = counts[5] + 1;
  card_write(SINGLE, REG_LATER, 3);
  sleep_until(&counts[5], wanted);
}

void test(void) {
  static void (*const handlers[])(struct Frame*) = {on_0, on_1, on_2, on_3, on_4, on_5, on_6, on_7};
  cli();
  apic_start();
  for (unsigned n = 0; n < 8; ++n) set_handler(VECTOR + n, handlers[n]);
  set_handler(VEC_NMI, on_nmi);
  cap = capability(CARD, CAP_MSI);
  set_command(CARD, ON);
  registers();
  vectors();
  masks();
  mastering();
  lines_and_messages();
  asleep();
  CHECK_EQ(apic_errors(), 0);
  passed();
}
