/* ACPI's fixed hardware: the power button as an interrupt, the PM timer, GPE0, the reserved hot-plug ports, and
 * soft off (ACPI 4.8).
 * @button
 */
#include "pci.h"

enum { SMI = 0xb2, EVENT = 0x400, ENABLE = 0x402, CONTROL = 0x404, TIMER = 0x408, GPE0 = 0x40c, HOTPLUG = 0xae00 };
enum { BUTTON = 1 << 8, SCI = 9, VECTOR = 0x59 };
static volatile u64 pressed, interrupts;

static void on_sci(struct Frame* f) {
  (void)f;
  ++interrupts;
  if (inw(EVENT) & BUTTON) ++pressed;
  outw(EVENT, BUTTON);  // lowers the line
  CHECK_EQ(inw(EVENT) & BUTTON, 0);
  apic_eoi();
}

static void registers(void) {
  CHECK_EQ(inw(CONTROL) & 1, 0);
  outw(CONTROL, 1);  // only the SMI command turns ACPI on
  CHECK_EQ(inw(CONTROL) & 1, 0);
  outb(SMI, 0xa0);
  CHECK_EQ(inw(CONTROL) & 1, 1);
  outb(SMI, 0xa1);
  CHECK_EQ(inw(CONTROL) & 1, 0);
  outb(SMI, 0xa0);
  outw(GPE0 + 2, 0xffff);
  outw(GPE0 + 2, 0);
  CHECK_EQ(inw(GPE0), 0);
  CHECK_EQ(inl(HOTPLUG), ~0u);  // room that nobody uses yet
  outl(HOTPLUG, 0);
}

// 3.579545 MHz against the TSC, within a hundredth and what may have passed at the reads.
static void timer(void) {
  const u64 before = rdtsc();
  const u32 from = inl(TIMER);
  const u64 begin = rdtsc();
  wait_us(50000);
  const u64 end = rdtsc();
  const u64 ticks = inl(TIMER) - from, after = rdtsc();
  CHECK(ticks > (end - begin) * 3543750 / tsc_hz());
  CHECK(ticks < (after - before) * 3615340 / tsc_hz());
  outl(TIMER, 0);  // read-only
  CHECK(inl(TIMER) - from >= ticks);
}

void test(void) {
  cli();
  apic_start();
  registers();
  timer();
  set_handler(VECTOR, on_sci);
  ioapic_route(SCI, 0, 0xa000 | VECTOR);
  outw(ENABLE, BUTTON);
  put("ready\n");
  sleep_until(&pressed, 1);
  open_window();
  CHECK_EQ(pressed, 1);
  CHECK_EQ(interrupts, 1);
  passed();
  outw(CONTROL, 3 << 10 | 1 << 13);  // no such sleep state
  outw(CONTROL, 5 << 10 | 1 << 13);
  for (;;) asm volatile("hlt");
}
