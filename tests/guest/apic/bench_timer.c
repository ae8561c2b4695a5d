/* How late the handler of a TSC deadline runs: COUNT samples in TSC ticks from SAMPLES on. Odd
 * ones waited in HLT, even ones in a loop. For bench/apic_bench.cpp.
 */
#include "apic.h"

enum { RESULT = 0x9000, SAMPLES = 0x20000, COUNT = 4000 };
static volatile u64 count, when;
static void on_timer(struct Frame* f) {
  (void)f;
  when = rdtsc();
  ++count;
  apic_eoi();
}

void test(void) {
  cli();
  apic_start();
  set_handler(0x50, on_timer);
  apic_write(APIC_LVT_TIMER, LVT_TSC_DEADLINE | 0x50);
  asm volatile("mfence" ::: "memory");
  for (u64 n = 0; n < COUNT; ++n) {
    const u64 due = rdtsc() + tsc_hz() / 5000;  // 200 us
    wrmsr(MSR_TSC_DEADLINE, due);
    if (n % 2) {
      while (count == n) asm volatile("sti; hlt; cli" ::: "memory");
    } else {
      sti();
      while (count == n) pause();
      cli();
    }
    AT(u64, SAMPLES + 8 * n) = when - due;
  }
  AT(u64, RESULT) = COUNT;
}
