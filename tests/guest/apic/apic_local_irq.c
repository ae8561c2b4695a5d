/* vm_lapic_local_irq(): each entry in the mode that is programmed, on one vCPU and on all; with the APIC
 * off LINT1 is NMI; LINT0 as a level keeps its remote IRR until the EOI.
 * @vcpus 2
 */
#include "apic.h"

enum { ALL = 0xff, LINT0 = 0, LINT1 = 1, CMCI = 6 };
static volatile u64 counts[2], nmis[2], ready, stop, level_ends;
static void on_interrupt(struct Frame* f) {
  if (f->vector == 0x72) CHECK(apic_read(APIC_LVT_LINT0) & 0x4000);
  ++counts[this_cpu()];
  apic_eoi();
  if (f->vector == 0x72) CHECK_EQ(apic_read(APIC_LVT_LINT0) & 0x4000, 0);
}
static void on_nmi(struct Frame* f) {
  (void)f;
  ++nmis[this_cpu()];
}
static void other_cpu(void) {
  ready = 1;  // with its APIC off
  while (ready != 2) pause();
  apic_enable();
  apic_write(APIC_LVT_LINT1, ICR_NMI);
  ready = 3;
  sti();
  while (!stop) pause();
  cli();
}
static void local_irq(u32 cpu, u32 index) {
  outl(PORT_LOCAL_IRQ, cpu << 8 | index);
  open_window();
}

void test(void) {
  cli();
  apic_start();
  apic_write(APIC_LVT_LINT0, LVT_MASKED);
  apic_write(APIC_LVT_LINT1, ICR_NMI);
  set_handler(0x70, on_interrupt);
  set_handler(0x72, on_interrupt);
  set_handler(VEC_NMI, on_nmi);
  start_ap(1, other_cpu);
  CHECK(await(&ready, 1));
  local_irq(1, LINT1);
  CHECK(await(&nmis[1], 1));
  ready = 2;
  CHECK(await(&ready, 3));
  local_irq(ALL, LINT1);
  CHECK_EQ(nmis[0], 1);
  CHECK(await(&nmis[1], 2));
  local_irq(0, CMCI);  // masked
  CHECK_EQ(counts[0], 0);
  apic_write(APIC_LVT_CMCI, 0x70);
  local_irq(0, CMCI);
  local_irq(0, 7);  // there is no such entry
  CHECK_EQ(counts[0], 1);
  apic_write(APIC_LVT_LINT0, 0x8072);
  local_irq(0, LINT0);
  CHECK_EQ(counts[0], 2);
  apic_write(APIC_LVT_LINT1, LVT_MASKED | ICR_NMI);
  local_irq(ALL, LINT1);
  CHECK_EQ(nmis[0], 1);
  CHECK(await(&nmis[1], 3));
  stop = 1;
}
