/* The PIC through the local APIC in virtual wire mode, then through the I/O APIC's input 0 as ExtINT
 * (MP specification 3.6.2.2 and 3.6.2.3).
 */
#include "apic.h"

static volatile u64 ticks;
static void on_tick(struct Frame* f) {
  (void)f;
  ++ticks;
  outb(0x20, 0x20);
}
static int ticks_come(int wanted) {
  const u64 before = ticks;
  sti();
  const u64 end = rdtsc() + (wanted ? 10 * tsc_hz() : tsc_hz() / 20);
  while (ticks < before + 3 && rdtsc() < end) pause();
  cli();
  return ticks >= before + 3;
}

void test(void) {
  cli();
  map_page(IOAPIC_PAGE, IOAPIC_PAGE, DEVICE_PAGE, 2);
  map_page(LAPIC_PAGE, LAPIC_PAGE, DEVICE_PAGE, 2);
  CHECK_EQ(apic_read(APIC_SVR), 0x1ff);  // as firmware leaves it
  CHECK_EQ(apic_read(APIC_LVT_LINT0), 0x700);
  CHECK_EQ(apic_read(APIC_LVT_LINT1), 0x400);
  set_handler(0x20, on_tick);
  outb(0x20, 0x11);
  outb(0x21, 0x20);
  outb(0x21, 0x04);
  outb(0x21, 0x01);
  outb(0x21, 0xfe);
  outb(0x43, 0x34);
  outb(0x40, 0xff);
  outb(0x40, 0x04);
  CHECK(ticks_come(1));
  apic_write(APIC_LVT_LINT0, LVT_MASKED);
  CHECK(!ticks_come(0));
  CHECK(!ticks_come(0));
  outb(0x21, 0xff);
  ioapic_route(0, 0, 0x700);
  outb(0x21, 0xfe);
  CHECK(ticks_come(1));
  outb(0x21, 0xff);
  CHECK(!ticks_come(0));
}
