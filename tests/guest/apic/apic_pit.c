/* The PIT as Linux uses it when it has no other timer: mode 4, armed again from the handler, shut down
 * through mode 0; its edges come through the I/O APIC, and through the PIC in virtual wire mode.
 */
#include "apic.h"

static volatile u64 ticks, left, through_pic;
static void arm(void) {
  outb(0x40, 0x00);
  outb(0x40, 0x04);
}
static void on_tick(struct Frame* f) {
  (void)f;
  ++ticks;
  if (left) {
    --left;
    arm();
  }
  if (through_pic) outb(0x20, 0x20);
  else apic_eoi();
}
static void shut_down(void) {
  outb(0x43, 0x30);
  outb(0x40, 0);
  outb(0x40, 0);
}
static void one_shots(void) {
  shut_down();
  outb(0x43, 0x38);
  ticks = 0;
  for (u64 n = 1; n <= 20; ++n) {
    arm();
    for (const u64 end = rdtsc() + 5 * tsc_hz(); ticks < n;) {
      CHECK(rdtsc() < end);
      asm volatile("sti; nop; pause; cli" ::: "memory");
    }
  }
  left = 50;
  arm();
  for (const u64 end = rdtsc() + 10 * tsc_hz(); ticks < 71;) {
    CHECK(rdtsc() < end);
    asm volatile("sti; nop; pause; cli" ::: "memory");
  }
  wait_us(3000);
  open_window();
  CHECK_EQ(ticks, 71);
  arm();
  asm volatile("sti; hlt; cli" ::: "memory");
  CHECK_EQ(ticks, 72);
}

void test(void) {
  cli();
  apic_start();
  set_handler(0x60, on_tick);
  set_handler(0x20, on_tick);
  ioapic_route(2, 0, 0x60);
  apic_write(APIC_LVT_LINT0, LVT_MASKED);
  one_shots();
  ioapic_route(2, 0, LVT_MASKED);
  through_pic = 1;
  apic_write(APIC_LVT_LINT0, 0x700);
  outb(0x20, 0x11);
  outb(0x21, 0x20);
  outb(0x21, 0x04);
  outb(0x21, 0x01);
  outb(0x21, 0xfe);
  one_shots();
}
