/* A vCPU that disabled its local APIC and halts is spun down; NMI lets it go on behind its HLT, INIT and
 * SIPI start it anew.
 * @vcpus 2
 * @spindowns 2
 */
#include "apic.h"

static volatile u64 stage, nmis;
static void on_nmi(struct Frame* f) {
  (void)f;
  ++nmis;
}
static void sleeper(void) {
  apic_enable();
  stage = 1;
  apic_write(APIC_SVR, 0xff);
  asm volatile("cli; hlt" ::: "memory");
  stage = 2;
  asm volatile("cli; hlt" ::: "memory");
  stage = 99;
}
static void again(void) {
  CHECK_EQ(apic_read(APIC_SVR), 0xff);  // as after INIT
  stage = 3;
  for (;;) pause();
}
static void await_spindowns(unsigned wanted) {
  for (int i = 0; inb(PORT_SPINDOWNS) != wanted; ++i) {
    CHECK(i < 20000);
    wait_us(100);
  }
}

void test(void) {
  cli();
  apic_start();
  set_handler(VEC_NMI, on_nmi);
  start_ap(1, sleeper);
  await_spindowns(1);
  CHECK_EQ(stage, 1);
  apic_send(1, ICR_NMI);
  CHECK(await(&stage, 2));
  CHECK_EQ(nmis, 1);
  await_spindowns(2);
  apic_send(1, ICR_STARTUP | 8);  // it does not wait for SIPI
  wait_us(2000);
  CHECK_EQ(stage, 2);
  apic_send(1, ICR_INIT | ICR_ASSERT);
  start_ap(1, again);
  CHECK(await(&stage, 3));
}
