/* HLT with interrupts disabled ignores the IRR; when all vCPUs are in it, the VM ends with reason HALT.
 * @vcpus 2
 * @expect halt
 */
#include "apic.h"

static volatile u64 halted;
static void other_cpu(void) {
  apic_enable();
  apic_send(apic_id(), 0x60);
  halted = 1;
  for (;;) asm volatile("cli; hlt" ::: "memory");
}

void test(void) {
  cli();
  apic_start();
  start_ap(1, other_cpu);
  CHECK(await(&halted, 1));
  apic_send(apic_id(), 0x60);
  CHECK_EQ(apic_bit(APIC_IRR, 0x60), 1);
  asm volatile("hlt" ::: "memory");
  finish(2);  // woken by an interrupt that it must not hear
}
