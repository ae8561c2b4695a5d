/* IPI round trips between two vCPUs that both run: each answers the other's. The TSC ticks of a round
 * trip are at RESULT, the number of rounds at RESULT + 8. For bench/apic_bench.cpp.
 * @vcpus 2
 */
#include "apic.h"

enum { RESULT = 0x9000, ROUNDS = 20000 };
static volatile u64 pings, pongs, stop, ready;
static void on_ping(struct Frame* f) {
  (void)f;
  apic_eoi();
  apic_send(0, 0x61);
  ++pings;
}
static void on_pong(struct Frame* f) {
  (void)f;
  apic_eoi();
  ++pongs;
}
static void other_cpu(void) {
  apic_enable();
  ready = 1;
  sti();
  while (!stop) pause();
  cli();
}

void test(void) {
  cli();
  apic_start();
  set_handler(0x60, on_ping);
  set_handler(0x61, on_pong);
  start_ap(1, other_cpu);
  CHECK(await(&ready, 1));
  sti();
  const u64 start = rdtsc();
  for (u64 n = 0; n < ROUNDS; ++n) {
    apic_send(1, 0x60);
    while (pongs == n) pause();
  }
  AT(u64, RESULT) = rdtsc() - start;
  AT(u64, RESULT + 8) = ROUNDS;
  stop = 1;
}
