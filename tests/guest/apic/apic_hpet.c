/* The HPET: the main counter of 64 bits and its rate, periodic and one-shot timers, the legacy
 * replacement route (IA-PC HPET specification 1.0a); the rate of the ACPI PM timer. Rates are those of
 * the TSC, looked at from both sides, so that a busy host does not matter.
 */
#include "apic.h"

enum { TIMER0 = HPET_TIMERS, TIMER1 = HPET_TIMERS + 0x20, COMPARATOR = 8, PIN = 24 };
enum { ENABLE = 1, LEGACY = 2, INTERRUPT = 4, PERIODIC = 8, SET_VALUE = 0x40 };
static volatile u64 ticks, others;
static void on_tick(struct Frame* f) {
  (void)f;
  ++ticks;
  apic_eoi();
}
static void on_other(struct Frame* f) {
  (void)f;
  ++others;
  apic_eoi();
}
static u64 hpet_count(void) { return hpet_read(HPET_COUNTER); }
static u64 pm_count(void) { return inl(0x408); }
// The counter runs at `hz`, as far as 20 ms can tell.
static void check_rate(u64 (*count)(void), u64 hz) {
  const u64 before_first = rdtsc(), first = count(), after_first = rdtsc();
  wait_us(20000);
  const u64 before_last = rdtsc(), last = count(), after_last = rdtsc();
  const u64 least = before_last - after_first, most = after_last - before_first;
  const u64 ticks_passed = last - first;
  CHECK(ticks_passed + 2 + least / 1000 * hz / tsc_hz() >= least * (hz / 1000) / (tsc_hz() / 1000));
  CHECK(ticks_passed <= most * (hz / 1000) / (tsc_hz() / 1000) + 2 + most / 1000 * hz / tsc_hz());
}

static void main_counter(void) {
  hpet_write(HPET_CONFIG, 0);
  hpet_write(HPET_COUNTER, 0xfffffff0);
  wait_us(100);
  CHECK_EQ(hpet_count(), 0xfffffff0);  // halted
  hpet_write(HPET_CONFIG, ENABLE);
  wait_us(100);
  CHECK_EQ(hpet_count() >> 32, 1);
  CHECK_EQ(hpet_read(0) >> 32, 100000000);  // its period in femtoseconds
  check_rate(hpet_count, 10000000);
}

static void periodic(void) {
  hpet_write(HPET_CONFIG, 0);
  hpet_write(HPET_COUNTER, 0);
  hpet_write(TIMER0, PIN << 9 | INTERRUPT | PERIODIC | SET_VALUE);
  hpet_write(TIMER0 + COMPARATOR, 10000);  // 1 ms
  const u64 start = rdtsc();
  hpet_write(HPET_CONFIG, ENABLE);
  sti();
  for (const u64 end = rdtsc() + 10 * tsc_hz(); ticks < 10;) {
    CHECK(rdtsc() < end);
    pause();
  }
  cli();
  CHECK((rdtsc() - start) / (tsc_hz() / 1000000) >= 9900);
  hpet_write(TIMER0, 0);
  open_window();
}

static void legacy_replacement(void) {
  hpet_write(HPET_CONFIG, 0);
  hpet_write(HPET_COUNTER, 0);
  ioapic_route(2, 0, 0x60);
  ioapic_route(8, 0, 0x63);
  ticks = 0;
  hpet_write(TIMER0, INTERRUPT | PERIODIC | SET_VALUE);
  hpet_write(TIMER0 + COMPARATOR, 10000);
  hpet_write(TIMER1, INTERRUPT);
  hpet_write(TIMER1 + COMPARATOR, 50000);
  hpet_write(HPET_CONFIG, ENABLE | LEGACY);
  sti();
  for (const u64 end = rdtsc() + 10 * tsc_hz(); ticks < 8 || !others;) {
    CHECK(rdtsc() < end);
    pause();
  }
  cli();
  hpet_write(TIMER0, 0);
  open_window();
  CHECK_EQ(others, 1);
  hpet_write(HPET_CONFIG, 0);
}

void test(void) {
  cli();
  apic_start();
  set_handler(0x60, on_tick);
  set_handler(0x63, on_other);
  ioapic_route(PIN, 0, 0x60);
  main_counter();
  check_rate(pm_count, 3579545);
  periodic();
  legacy_replacement();
}
