/* INTx: level-triggered and shared, through the bridge's PIRQ links to the PIC and directly to the I/O APIC;
 * masked there, and by the command register's interrupt disable; the status bit (PCI Local Bus 3.0, 2.2.6
 * and 6.2.3; 82371AB, 4.1.10).
 * @options -s 4:0,pci-testdev -s 4:4,pci-testdev -s 12,pci-testdev -s 4:1,pci-testdev
 */
#include "pci.h"

// The first three are on one line: slots and pins fold by 8 and by 4.
enum { A = BDF(4, 0), SAME_SLOT = BDF(4, 4), OTHER_SLOT = BDF(12, 0), ALONE = BDF(4, 1) };
enum { LINK = 1, PIN = 17, ALONE_LINK = 2, ALONE_PIN = 18, VECTOR = 0x50, LEVEL_LOW = 0xa000, REMOTE_IRR = 0x4000 };
static const unsigned cards[] = {A, SAME_SLOT, OTHER_SLOT, ALONE};
static volatile u64 taken, alone, clear_at, stop_at = ~0ull;
static volatile unsigned clear_card;
static unsigned irq;
static int by_pic;

static void end_of_interrupt(void) {
  if (!by_pic) return apic_eoi();
  if (irq >= 8) outb(0xa0, 0x20);
  outb(0x20, 0x20);
}
static void on_line(struct Frame* f) {
  if (++taken >= clear_at) card_write(clear_card, REG_LINE, 0);
  if (taken >= stop_at) f->rflags &= ~FLAG_IF;  // a held line leaves the interrupted code no instruction
  end_of_interrupt();
}
static void on_alone(struct Frame* f) {
  (void)f;
  ++alone;
  card_write(ALONE, REG_LINE, 0);
  end_of_interrupt();
}
// How many interrupts come when `card` asserts its line and lowers it at the n-th.
static u64 raise(unsigned card, u64 n) {
  const u64 before = taken;
  clear_card = card;
  clear_at = before + n;
  card_write(card, REG_LINE, 1);
  open_window();
  return taken - before;
}
static void assert_line(unsigned card, int level) { card_write(card, REG_LINE, (u32)level); }
// A held line interrupts again and again: does it? The I/O APIC sends as soon as it may, so that the local
// APIC may have one interrupt of a line that was up and is not any more.
static int comes(void) {
  const u64 before = taken;
  clear_at = ~0ull;
  clear_card = A;
  stop_at = before + 3;
  open_window();
  const u64 got = taken - before;
  CHECK(got == 3 || got <= (u64)!by_pic);
  if (got == 1) open_window();
  stop_at = ~0ull;
  CHECK_EQ(taken, before + got);
  return got == 3;
}

static void either_way(void) {
  CHECK_EQ(card_notify(A, 0), SENT_LINE);  // no messages: the line, until it is cleared
  CHECK_EQ(raise(A, 1), 1);
  CHECK_EQ(config_read16(A, PCI_STATUS) & STATUS_INTX, 0);
  CHECK(!comes());
  CHECK_EQ(raise(A, 5), 5);  // a level comes again until the device lowers it
  CHECK_EQ(raise(OTHER_SLOT, 1), 1);
  CHECK_EQ(raise(SAME_SLOT, 2), 2);

  // Shared: the line stays up while one of them asserts it.
  assert_line(A, 1);
  assert_line(OTHER_SLOT, 1);
  CHECK(comes());
  assert_line(A, 0);
  CHECK(comes());
  assert_line(OTHER_SLOT, 0);
  CHECK(!comes());

  // The command register's bit holds the line back, not the status.
  set_command(A, COMMAND_IO | COMMAND_NO_INTX);
  assert_line(A, 1);
  CHECK(config_read16(A, PCI_STATUS) & STATUS_INTX);
  CHECK(!comes());
  assert_line(OTHER_SLOT, 1);
  CHECK(comes());
  assert_line(OTHER_SLOT, 0);
  CHECK(!comes());
  set_command(A, COMMAND_IO);
  CHECK(comes());
  set_command(A, COMMAND_IO | COMMAND_NO_INTX);
  CHECK(!comes());
  set_command(A, COMMAND_IO);
  assert_line(A, 0);
  CHECK(!comes());

  // From the device's own thread, to a CPU that sleeps.
  for (u64 i = 0; i < 20; ++i) {
    const u64 before = taken;
    clear_card = A;
    clear_at = before + 1;
    card_write(A, REG_LATER, 0);
    sleep_until(&taken, before + 1);
    CHECK_EQ(card_read(A, REG_NOTIFY), SENT_LINE);
  }
  CHECK(!comes());
}

static void pic_mask(unsigned n, int masked) {
  const u16 port = n < 8 ? 0x21 : 0xa1;
  const u8 bit = (u8)(1 << (n & 7)), mask = inb(port);
  outb(port, masked ? mask | bit : mask & (u8)~bit);
}
static u8 pic_requests(unsigned n) {
  const u16 port = n < 8 ? 0x20 : 0xa0;
  outb(port, 0x0a);
  return inb(port) >> (n & 7) & 1;
}
static void pic_start(void) {
  static const u8 words[][2] = {{0x11, 0x11}, {0x20, 0x28}, {4, 2}, {1, 1}, {0xfb, 0xff}};
  for (unsigned i = 0; i < 5; ++i) {
    outb(i ? 0x21 : 0x20, words[i][0]);
    outb(i ? 0xa1 : 0xa0, words[i][1]);
  }
}

static void through_the_pic(void) {
  by_pic = 1;
  pic_start();
  irq = config_read8(A, PCI_LINE);
  CHECK(irq < 16 && (0xdef8 >> irq & 1));
  CHECK(irq != config_read8(ALONE, PCI_LINE));
  CHECK_EQ(config_read8(LPC, 0x60 + LINK), irq);
  for (unsigned i = 0; i < 3; ++i) CHECK_EQ(config_read8(cards[i], PCI_LINE), irq);
  CHECK((inb(0x4d0) | inb(0x4d1) << 8) >> irq & 1);  // level, as firmware leaves it
  set_handler(0x20 + irq, on_line);
  pic_mask(irq, 0);
  either_way();

  pic_mask(irq, 1);
  assert_line(A, 1);
  CHECK_EQ(pic_requests(irq), 1);
  CHECK(!comes());
  pic_mask(irq, 0);
  CHECK(comes());
  // The link goes to another interrupt, and so does a line that is up.
  const unsigned first = irq;
  irq = first == 11 ? 10 : 11;
  set_handler(0x20 + irq, on_line);
  outb(0x4d1, (u8)(inb(0x4d1) | 1 << (irq - 8)));
  config_write8(LPC, 0x60 + LINK, (u8)irq);
  CHECK_EQ(pic_requests(first), 0);
  CHECK_EQ(pic_requests(irq), 1);
  CHECK(!comes());
  pic_mask(irq, 0);
  CHECK(comes());
  config_write8(LPC, 0x60 + LINK, 0x80);
  CHECK(!comes());
  config_write8(LPC, 0x60 + LINK, 0);  // the timer's: not for PCI
  CHECK(!comes());
  config_write8(LPC, 0x60 + LINK, (u8)irq);
  CHECK(comes());
  // Two links on one interrupt share it.
  config_write8(LPC, 0x60 + ALONE_LINK, (u8)irq);
  assert_line(A, 0);
  CHECK(!comes());
  CHECK_EQ(raise(ALONE, 2), 2);
  assert_line(ALONE, 1);
  assert_line(A, 1);
  CHECK(comes());
  assert_line(ALONE, 0);
  CHECK(comes());
  assert_line(A, 0);
  CHECK(!comes());
  outb(0x21, 0xff);
  outb(0xa1, 0xff);
}

static void through_the_ioapic(void) {
  by_pic = 0;
  set_handler(VECTOR, on_line);
  set_handler(VECTOR + 1, on_alone);
  ioapic_route(PIN, 0, LEVEL_LOW | VECTOR);
  ioapic_route(ALONE_PIN, 0, LEVEL_LOW | (VECTOR + 1));
  either_way();

  assert_line(ALONE, 1);
  open_window();
  CHECK_EQ(alone, 1);
  ioapic_route(PIN, 0, LVT_MASKED | LEVEL_LOW | VECTOR);
  assert_line(A, 1);
  CHECK(!comes());
  CHECK_EQ(ioapic_read(0x10 + 2 * PIN) & REMOTE_IRR, 0);
  ioapic_write(0x10 + 2 * PIN, LEVEL_LOW | VECTOR);
  CHECK(ioapic_read(0x10 + 2 * PIN) & REMOTE_IRR);
  CHECK(comes());
  assert_line(A, 0);
  CHECK(!comes());
  CHECK_EQ(ioapic_read(0x10 + 2 * PIN) & REMOTE_IRR, 0);
  CHECK_EQ(apic_errors(), 0);
}

void test(void) {
  cli();
  apic_start();
  through_the_pic();
  through_the_ioapic();
  passed();
}
