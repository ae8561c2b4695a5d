/* The I/O APIC: an edge, a level with remote IRR until the EOI, masking of an asserted line, directed
 * EOI with broadcast suppression. Lines are those of the PIT and of an HPET timer (82093AA, 3.2.4; SDM
 * vol. 3, 11.8.5).
 */
#include "apic.h"

enum { PIN = 24, TIMER0 = HPET_TIMERS, LEVEL = 0x8000, REMOTE_IRR = 0x4000 };
static volatile u64 edges, levels, clear;
static void on_edge(struct Frame* f) {
  (void)f;
  ++edges;
  apic_eoi();
}
static void on_level(struct Frame* f) {
  (void)f;
  ++levels;
  CHECK(ioapic_read(0x10 + 2 * PIN) & REMOTE_IRR);
  CHECK_EQ(apic_bit(APIC_TMR, 0x61), 1);
  if (levels >= clear) hpet_write(HPET_STATUS, 1);
  apic_eoi();
}
// One expiry of HPET timer 0 as a level at PIN.
static void raise_level(void) {
  hpet_write(HPET_CONFIG, 0);
  hpet_write(HPET_STATUS, 1);
  hpet_write(HPET_COUNTER, 0);
  hpet_write(TIMER0, (u64)PIN << 9 | 1 << 2 | 1 << 1);
  hpet_write(TIMER0 + 8, 1000);  // 100 us
  hpet_write(HPET_CONFIG, 1);
  const u64 end = rdtsc() + 10 * tsc_hz();
  while (!(hpet_read(HPET_STATUS) & 1)) CHECK(rdtsc() < end);
}

void test(void) {
  cli();
  apic_start();
  set_handler(0x60, on_edge);
  set_handler(0x61, on_level);
  CHECK_EQ(ioapic_read(1), 31u << 16 | 0x20);

  ioapic_route(2, 0, 0x60);
  outb(0x43, 0x34);  // channel 0, mode 2
  outb(0x40, 0xff);
  outb(0x40, 0x04);
  sti();
  CHECK(await(&edges, 3));
  cli();
  ioapic_route(2, 0, LVT_MASKED);
  open_window();
  const u64 before = edges;
  wait_us(5000);
  open_window();
  CHECK_EQ(edges, before);

  clear = 3;  // it comes again until the device lowers the line
  ioapic_route(PIN, 0, LEVEL | 0x61);
  raise_level();
  CHECK(ioapic_read(0x10 + 2 * PIN) & REMOTE_IRR);
  open_window();
  CHECK_EQ(levels, 3);
  CHECK_EQ(ioapic_read(0x10 + 2 * PIN) & REMOTE_IRR, 0);
  wait_us(1000);
  open_window();
  CHECK_EQ(levels, 3);

  ioapic_route(PIN, 0, LVT_MASKED | LEVEL | 0x61);
  raise_level();
  open_window();
  CHECK_EQ(levels, 3);
  ioapic_write(0x10 + 2 * PIN, LEVEL | 0x61);  // a level is not lost
  open_window();
  CHECK_EQ(levels, 4);

  apic_write(APIC_SVR, 0x11ff);  // no broadcast: the I/O APIC waits for its own EOI register
  clear = 5;
  raise_level();
  open_window();
  CHECK_EQ(levels, 5);
  CHECK(ioapic_read(0x10 + 2 * PIN) & REMOTE_IRR);
  raise_level();
  open_window();
  CHECK_EQ(levels, 5);
  clear = 6;
  AT(u32, IOAPIC_PAGE + 0x40) = 0x61;
  open_window();
  CHECK_EQ(levels, 6);
  AT(u32, IOAPIC_PAGE + 0x40) = 0x61;
  CHECK_EQ(ioapic_read(0x10 + 2 * PIN) & REMOTE_IRR, 0);
}
