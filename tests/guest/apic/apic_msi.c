/* Messages of a device, here an HPET timer's: physical and logical destinations, the redirection hint,
 * lowest priority, NMI, and addresses that are none (SDM vol. 3, 11.11).
 * @vcpus 2
 */
#include "apic.h"

enum { TIMER0 = HPET_TIMERS };
static volatile u64 counts[2], nmis[2], stop, ready, priority, loops;
static void on_msi(struct Frame* f) {
  (void)f;
  ++counts[this_cpu()];
  apic_eoi();
}
static void on_nmi(struct Frame* f) {
  (void)f;
  ++nmis[this_cpu()];
}
static void other_cpu(void) {
  apic_enable();
  if (!x2apic()) apic_write(APIC_LDR, 2u << 24);
  ready = 1;
  while (!stop) {
    write_cr8(priority);
    asm volatile("sti; nop; pause; cli" ::: "memory");
    ++loops;
  }
}
static void settle(void) {
  for (const u64 before = loops; loops < before + 2;) pause();
}
// Sends one and says who got it: vCPU 0 in the low digit. Waits for `wanted` and a little more.
static u64 message(u32 address, u32 data, u64 wanted) {
  const u64 before0 = counts[0] + nmis[0], before1 = counts[1] + nmis[1];
  hpet_write(HPET_CONFIG, 0);
  hpet_write(HPET_COUNTER, 0);
  hpet_write(TIMER0 + 0x10, (u64)address << 32 | data);
  hpet_write(TIMER0, 1 << 14 | 1 << 2);
  hpet_write(TIMER0 + 8, 1000);
  hpet_write(HPET_CONFIG, 1);
  u64 got = 0, end = rdtsc() + (wanted ? 5 * tsc_hz() : tsc_hz() / 100);
  while (rdtsc() < end) {
    open_window();
    got = counts[0] + nmis[0] - before0 + 16 * (counts[1] + nmis[1] - before1);
    if (wanted && got == wanted && end > rdtsc() + tsc_hz() / 1000) end = rdtsc() + tsc_hz() / 1000;
  }
  return got;
}
#define CHECK_MESSAGE(address, data, wanted) CHECK_EQ(message(address, data, wanted), wanted)

void test(void) {
  cli();
  apic_start();
  if (!x2apic()) apic_write(APIC_LDR, 1u << 24);
  set_handler(0x70, on_msi);
  set_handler(0xb0, on_msi);
  set_handler(VEC_NMI, on_nmi);
  start_ap(1, other_cpu);
  CHECK(await(&ready, 1));
  CHECK(hpet_read(TIMER0) >> 15 & 1);

  CHECK_MESSAGE(0xfee00000, 0x70, 0x01);
  CHECK_MESSAGE(0xfee01000, 0x70, 0x10);
  CHECK_MESSAGE(0xfee02000, 0x70, 0);
  CHECK_MESSAGE(0xfeeff000, 0x70, 0x11);
  CHECK_MESSAGE(0xfee03004, 0x70, 0x11);  // logical: both
  priority = 0xa;
  settle();
  CHECK_MESSAGE(0xfee0300c, 0xb0, 0x01);  // logical with the hint: the lower of two priorities
  CHECK_MESSAGE(0xfee03004, 0x1b0, 0x01);
  write_cr8(0xa);
  priority = 0;
  settle();
  CHECK_MESSAGE(0xfee0300c, 0xb0, 0x10);
  write_cr8(0);
  CHECK_MESSAGE(0xfee01000, 0x400, 0x10);  // NMI
  CHECK_EQ(nmis[1], 1);
  CHECK_MESSAGE(0xfed01000, 0x70, 0);
  CHECK_MESSAGE(0xfee01000, 0x200, 0);     // SMI
  CHECK_MESSAGE(0xfee01000, 0x500 | 0x8000, 0);
  CHECK_EQ(apic_errors(), 0);
  stop = 1;
}
