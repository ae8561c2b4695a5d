/* Capabilities that are the vmm's own: with mask_hwintr interrupts wait, also for a vCPU in HLT, and NMI
 * does not; with ipi_exit INIT and SIPI leave, once for each message, with their targets.
 * @vcpus 3
 */
#include "apic.h"

#define PORT_CAPABILITY 0xf9
#define PORT_IPI_EXITS 0xfa   // IN: how many; OUT dword: which one the next port tells about
#define PORT_IPI_EXIT 0xfb    // IN: mode, vector in bits 23-16, targets from bit 24 on
enum { CAP_IPI_EXIT = 8, CAP_MASK_HWINTR = 9 };

static volatile u64 counts[3], nmis[3], started, halting;
static void on_ipi(struct Frame* f) {
  (void)f;
  ++counts[this_cpu()];
  apic_eoi();
}
static void on_nmi(struct Frame* f) {
  (void)f;
  ++nmis[this_cpu()];
}
static void set(u32 cpu, u32 capability, u32 on) {
  outl(PORT_CAPABILITY, cpu << 16 | on << 8 | capability);
}
static void halt_for_good(void) {
  apic_enable();
  __atomic_fetch_add(&started, 1, __ATOMIC_SEQ_CST);
  for (;;) {
    ++halting;
    asm volatile("sti; hlt; cli" ::: "memory");
  }
}

static void interrupts_wait(void) {
  const u32 me = apic_id();
  for (int round = 0; round < 5; ++round) {
    const u64 before = counts[0], nmi_before = nmis[0];
    set(0, CAP_MASK_HWINTR, 1);
    apic_send(me, 0x60);
    for (int i = 0; i < 20; ++i) open_window();
    CHECK_EQ(counts[0], before);
    CHECK_EQ(apic_bit(APIC_IRR, 0x60), 1);
    apic_send(me, ICR_NMI);
    CHECK(await(&nmis[0], nmi_before + 1));
    set(0, CAP_MASK_HWINTR, 0);
    open_window();
    CHECK_EQ(counts[0], before + 1);
  }
}

static void halted_vcpu_waits(void) {
  const u64 before = counts[1];
  set(1, CAP_MASK_HWINTR, 1);
  apic_send(1, 0x60);
  wait_us(20000);
  CHECK_EQ(counts[1], before);
  set(1, CAP_MASK_HWINTR, 0);
  CHECK(await(&counts[1], before + 1));
}

static u32 ipi_exit(u32 number) {
  outl(PORT_IPI_EXITS, number);
  return inl(PORT_IPI_EXIT);
}
static void init_and_sipi_leave(void) {
  set(0, CAP_IPI_EXIT, 1);
  apic_send(0, ICR_OTHERS | ICR_INIT | ICR_ASSERT);
  CHECK_EQ(inl(PORT_IPI_EXITS), 1);
  CHECK_EQ(ipi_exit(0), ICR_INIT | 6u << 24);
  const u64 before = started;
  // The trampoline is still that of vCPU 2. Only the first SIPI after INIT counts.
  for (int i = 0; i < 3; ++i) apic_send(2, ICR_STARTUP | 8);
  CHECK(await(&started, before + 1));
  CHECK_EQ(inl(PORT_IPI_EXITS), 2);
  CHECK_EQ(ipi_exit(1), ICR_STARTUP | 8u << 16 | 4u << 24);
  apic_send(2, 0x60);  // fixed interrupts do not leave
  CHECK(await(&counts[2], 1));
  CHECK_EQ(inl(PORT_IPI_EXITS), 2);
  set(0, CAP_IPI_EXIT, 0);
  apic_send(2, ICR_INIT | ICR_ASSERT);
  wait_us(1000);
  apic_send(2, ICR_STARTUP | 8);
  CHECK(await(&started, before + 2));
  CHECK_EQ(inl(PORT_IPI_EXITS), 2);
}

void test(void) {
  cli();
  apic_start();
  set_handler(0x60, on_ipi);
  set_handler(VEC_NMI, on_nmi);
  interrupts_wait();
  start_ap(1, halt_for_good);
  start_ap(2, halt_for_good);
  CHECK(await(&started, 2));
  halted_vcpu_waits();
  init_and_sipi_leave();
}
