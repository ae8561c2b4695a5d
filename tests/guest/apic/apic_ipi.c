/* The ICR: modes, shorthands and destinations, physical and logical; lowest priority that respects the
 * TPR; NMI; what is not there is ignored (SDM vol. 3, 11.6).
 * @vcpus 4
 */
#include "apic.h"

static volatile u64 counts[4], nmis[4], stop, last_vector[4];
static void on_ipi(struct Frame* f) {
  last_vector[this_cpu()] = f->vector;
  ++counts[this_cpu()];
  apic_eoi();
}
static void on_nmi(struct Frame* f) {
  (void)f;
  ++nmis[this_cpu()];
}
static volatile u64 priority[4], loops[4];
static volatile u32 logical_id[4];
static volatile u64 ready;
static void other_cpu(void) {
  apic_enable();
  __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
  const unsigned me = this_cpu();
  while (!stop) {
    write_cr8(priority[me]);
    if (!x2apic()) apic_write(APIC_LDR, logical_id[me]);
    asm volatile("sti; nop; pause; cli" ::: "memory");
    ++loops[me];
  }
}
// The others have gone round since: they have taken over what was stored for them.
static void settle(void) {
  for (int i = 1; i < 4; ++i)
    for (const u64 before = loops[i]; loops[i] < before + 2;) pause();
}
// Sends and says which vCPUs got it: a hexadecimal digit each, vCPU 0 in the lowest. Waits for `wanted`,
// and a little more for what must not come.
static u64 send(u32 destination, u32 low, u64 wanted) {
  u64 before[4], got = 0;
  for (int i = 0; i < 4; ++i) before[i] = counts[i] + nmis[i];
  apic_send(destination, low);
  u64 end = rdtsc() + (wanted ? 20 * tsc_hz() : tsc_hz() / 20);
  while (rdtsc() < end) {
    open_window();
    got = 0;
    for (int i = 0; i < 4; ++i) got |= (counts[i] + nmis[i] - before[i]) << 4 * i;
    if (got == wanted && end > rdtsc() + tsc_hz() / 1000) end = rdtsc() + tsc_hz() / 1000;
  }
  return got;
}
#define CHECK_SENT(destination, low, wanted) CHECK_EQ(send(destination, low, wanted), wanted)

static void logical_xapic(void) {
  for (u32 i = 0; i < 4; ++i) logical_id[i] = 1u << (24 + i);
  apic_write(APIC_LDR, logical_id[0]);
  settle();
  CHECK_SENT(0x5, ICR_LOGICAL | 0x60, 0x0101);
  CHECK_SENT(0xff, ICR_LOGICAL | 0x60, 0x1111);
  CHECK_SENT(0x80, ICR_LOGICAL | 0x60, 0);
  priority[1] = 7, priority[2] = 3, priority[3] = 5;
  settle();
  CHECK_SENT(0xe, ICR_LOGICAL | ICR_LOWEST | 0x90, 0x0100);
  priority[2] = 9;
  settle();
  CHECK_SENT(0xe, ICR_LOGICAL | ICR_LOWEST | 0xa0, 0x1000);
  // Clusters: vCPUs 0 and 1 in cluster 0, the others in cluster 1; the format is each APIC's own.
  priority[1] = priority[2] = priority[3] = 0;
}
static void logical_x2apic(void) {
  CHECK_SENT(0xa, ICR_LOGICAL | 0x60, 0x1010);
  CHECK_SENT(0x1000a, ICR_LOGICAL | 0x60, 0);
  CHECK_SENT(0xff, ICR_LOGICAL | 0x60, 0x1111);
  CHECK_SENT(~0u, ICR_LOGICAL | 0x60, 0x1111);
  CHECK_SENT(0xff, 0x60, 0);  // no broadcast: there is no APIC of this id
  priority[1] = 7, priority[2] = 3, priority[3] = 5;
  settle();
  CHECK_SENT(0xe, ICR_LOGICAL | ICR_LOWEST | 0x90, 0x0100);
  priority[1] = priority[2] = priority[3] = 0;
  settle();
  apic_write(APIC_SELF_IPI, 0x61);
  open_window();
  CHECK_EQ(last_vector[0], 0x61);
}

void test(void) {
  cli();
  apic_start();
  set_handler(0x60, on_ipi);
  set_handler(0x61, on_ipi);
  set_handler(0x90, on_ipi);
  set_handler(0xa0, on_ipi);
  set_handler(VEC_NMI, on_nmi);
  for (unsigned i = 1; i < 4; ++i) start_ap(i, other_cpu);
  CHECK(await(&ready, 3));
  const u32 all = x2apic() ? ~0u : 0xff;

  CHECK_SENT(2, 0x60, 0x0100);
  CHECK_SENT(0, 0x60, 0x0001);
  CHECK_SENT(all, 0x60, 0x1111);
  CHECK_SENT(9, 0x60, 0);
  CHECK_SENT(3, ICR_SELF | 0x60, 0x0001);
  CHECK_SENT(0, ICR_ALL | 0x60, 0x1111);
  CHECK_SENT(0, ICR_OTHERS | 0x60, 0x1110);
  CHECK_SENT(1, ICR_NMI, 0x0010);
  CHECK_SENT(0, ICR_OTHERS | ICR_NMI, 0x1110);
  CHECK_EQ(nmis[1], 2);
  if (x2apic()) logical_x2apic();
  else logical_xapic();

  CHECK_SENT(1, ICR_SMI, 0);
  CHECK_SENT(1, ICR_REMOTE_READ | 2, 0);
  CHECK_EQ(apic_read(APIC_ICR) & 0x31000, 0);  // idle; remote read invalid
  CHECK_SENT(1, 0x700 | 0x60, 0);
  CHECK_SENT(1, ICR_INIT | 0x8000, 0);           // level de-assert
  CHECK_SENT(1, ICR_STARTUP | 8, 0);             // it does not wait for one
  CHECK_SENT(1, 0x60, 0x0010);
  CHECK_EQ(apic_errors(), 0);
  stop = 1;
}
