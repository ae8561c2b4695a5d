/* IPI round trips between two vCPUs that both run: each answers the other's. The TSC ticks of all rounds
 * are at RESULT, their number at RESULT + 8. For bench/apic_bench.cpp. Where both vCPUs share one CPU of
 * a busy host, a round takes the host's time slices: the time ends it, then.
 * @vcpus 2
 */
#include "apic.h"

enum { RESULT = 0x9000, ROUNDS = 20000 };
static const u64 longest = 1ul << 34; /* TSC ticks */
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
  u64 rounds = 0;
  for (; rounds < ROUNDS && rdtsc() - start < longest; ++rounds) {
    apic_send(1, 0x60);
    while (pongs == rounds) pause();
  }
  AT(u64, RESULT) = rdtsc() - start;
  AT(u64, RESULT + 8) = rounds;
  stop = 1;
}
