/* The RTC on the I/O APIC's input 8: periodic, update-ended and alarm interrupts, and register C, which
 * lets the next one come only when it has been read (MC146818A data sheet).
 */
#include "apic.h"

enum { PERIODIC = 0x40, ALARM = 0x20, UPDATE = 0x10, HOURS24 = 2, IRQ = 0x80 };
static volatile u64 ticks, lazy;
static volatile u32 flags;
static u8 cmos(u8 reg) {
  outb(0x70, reg);
  return inb(0x71);
}
static void cmos_write(u8 reg, u8 value) {
  outb(0x70, reg);
  outb(0x71, value);
}
static void on_rtc(struct Frame* f) {
  (void)f;
  ++ticks;
  if (!lazy) flags |= cmos(0xc);
  apic_eoi();
}
static void enable(u8 what) {
  cmos_write(0xb, HOURS24);
  cmos(0xc);
  open_window();
  ticks = flags = 0;
  cmos_write(0xb, HOURS24 | what);
}
/* True once an interrupt has come; false when it took more than ten seconds. */
static int comes(void) {
  sti();
  const u64 end = rdtsc() + 10 * tsc_hz();
  while (!ticks && rdtsc() < end) pause();
  cli();
  return ticks != 0;
}

static void periodic(void) {
  cmos_write(0xa, 0x26);  // 1024 a second
  const u64 start = rdtsc();
  enable(PERIODIC);
  sti();
  for (const u64 end = rdtsc() + 10 * tsc_hz(); ticks < 20;) {
    CHECK(rdtsc() < end);
    pause();
  }
  cli();
  CHECK((rdtsc() - start) / (tsc_hz() / 1000000) >= 18500);  // at least nineteen periods
  CHECK_EQ(flags & ~(u32)(ALARM | UPDATE), IRQ | PERIODIC);
  lazy = 1;
  enable(PERIODIC);
  CHECK(comes());
  wait_us(5000);
  open_window();
  CHECK_EQ(ticks, 1);
  lazy = 0;
  CHECK(cmos(0xc) & IRQ);
  ticks = 0;
  CHECK(comes());
}

static void once_a_second(void) {
  const u8 second = cmos(0);
  enable(UPDATE);
  CHECK(comes());
  CHECK_EQ(flags & (IRQ | UPDATE), IRQ | UPDATE);
  CHECK(cmos(0) != second);
  for (u8 reg = 1; reg <= 5; reg += 2) cmos_write(reg, 0xff);  // whatever the time
  enable(ALARM);
  CHECK(comes());
  CHECK_EQ(flags & (IRQ | ALARM), IRQ | ALARM);
  const u8 now = cmos(0);
  const unsigned next = (unsigned)((now >> 4) * 10 + (now & 15) + 1) % 60;
  cmos_write(1, (u8)(next / 10 << 4 | next % 10));
  enable(ALARM);
  // A busy host may have let the second go by: then it is due in a minute.
  if (cmos(0) == now) {
    CHECK(comes());
    CHECK_EQ(flags & (IRQ | ALARM), IRQ | ALARM);
    CHECK(cmos(0) != now);
  }
}

void test(void) {
  cli();
  apic_start();
  set_handler(0x62, on_rtc);
  ioapic_route(8, 0, 0x62);
  periodic();
  once_a_second();
  enable(0);
  wait_us(2000);
  open_window();
  CHECK_EQ(ticks, 0);
}
