/* The timer: one-shot, periodic and TSC-deadline, at the rate that CPUID 15h tells; mask, divider, tiny
 * periods, re-arming from the handler; a write of the TSC moves the deadline (SDM vol. 3, 11.5.4).
 */
#include "apic.h"

static volatile u64 count, when;
static volatile u64 rearm;
static void on_timer(struct Frame* f) {
  (void)f;
  ++count;
  when = rdtsc();
  if (rearm) {
    --rearm;
    apic_write(APIC_TIMER_INITIAL, (u32)(apic_hz() / 10000));
  }
  apic_eoi();
}
static u64 us(u64 tsc) { return tsc / (tsc_hz() / 1000000); }

/* The statements, again until they took less than `limit` microseconds: a busy host may hold them up
 * until a timer that they start has expired. */
#define WITHIN(limit, ...)                                \
  for (;;) {                                              \
    const u64 begun_ = rdtsc();                           \
    __VA_ARGS__;                                          \
    if (us(rdtsc() - begun_) < (limit)) break;            \
    apic_write(APIC_TIMER_INITIAL, 0);                    \
    open_window();                                        \
    count = 0;                                            \
  }

static void one_shot(void) {
  apic_write(APIC_TIMER_DIVIDE, 0xb);  // by 1
  apic_write(APIC_LVT_TIMER, 0x50);
  u64 start;
  u32 first;
  WITHIN(9000,
    start = rdtsc();
    apic_write(APIC_TIMER_INITIAL, (u32)(apic_hz() / 100));
    first = apic_read(APIC_TIMER_CURRENT));
  CHECK(first <= apic_hz() / 100 && first != 0);
  wait_us(1000);
  CHECK(apic_read(APIC_TIMER_CURRENT) < first);
  sti();
  CHECK(await(&count, 1));
  cli();
  CHECK(us(when - start) >= 9990);  // never early, but for the clock's own inexactness
  CHECK_EQ(apic_read(APIC_TIMER_CURRENT), 0);
  CHECK_EQ(apic_read(APIC_TIMER_INITIAL), apic_hz() / 100);
  wait_us(12000);
  open_window();
  CHECK_EQ(count, 1);
}

static void masked_and_stopped(void) {
  u64 before = count;
  apic_write(APIC_LVT_TIMER, LVT_MASKED | 0x50);
  apic_write(APIC_TIMER_INITIAL, 1000);
  wait_us(1000);
  open_window();
  CHECK_EQ(apic_read(APIC_TIMER_CURRENT), 0);  // it ran
  apic_write(APIC_LVT_TIMER, 0x50);
  open_window();
  CHECK_EQ(count, before);  // and its interrupt is lost
  WITHIN(9000,
    apic_write(APIC_TIMER_INITIAL, (u32)(apic_hz() / 100));
    apic_write(APIC_TIMER_INITIAL, 0));
  CHECK_EQ(apic_read(APIC_TIMER_CURRENT), 0);
  before = count;
  wait_us(12000);
  open_window();
  CHECK_EQ(count, before);
}

static void periodic(void) {
  u64 before = count;
  apic_write(APIC_LVT_TIMER, LVT_PERIODIC | 0x50);
  const u64 start = rdtsc();
  apic_write(APIC_TIMER_INITIAL, (u32)(apic_hz() / 1000));
  sti();
  while (count < before + 20) pause();
  cli();
  CHECK(us(when - start) >= 19900);  // twenty periods are not shorter than that
  apic_write(APIC_TIMER_DIVIDE, 0);  // by 2: the same count takes twice as long
  CHECK(apic_read(APIC_TIMER_CURRENT) <= apic_hz() / 1000);
  apic_write(APIC_TIMER_INITIAL, 0);
  open_window();
  before = count;
  const u64 again = rdtsc();
  apic_write(APIC_TIMER_INITIAL, (u32)(apic_hz() / 1000));
  sti();
  while (count < before + 5) pause();
  cli();
  CHECK(us(when - again) >= 9900);
  // A period of one tick can drown neither the host nor us.
  apic_write(APIC_TIMER_DIVIDE, 0xb);
  apic_write(APIC_TIMER_INITIAL, 0);
  open_window();
  before = count;
  const u64 tiny = rdtsc();
  apic_write(APIC_TIMER_INITIAL, 1);
  sti();
  wait_us(5000);
  for (const u64 end = rdtsc() + 5 * tsc_hz(); count == before && rdtsc() < end;) pause();
  cli();  // a busy host may be late with the first
  CHECK(count > before);
  CHECK(count - before < us(rdtsc() - tiny));
  apic_write(APIC_TIMER_INITIAL, 0);
  open_window();
  apic_write(APIC_LVT_TIMER, 0x50);
  before = count;
  rearm = 10;
  apic_write(APIC_TIMER_INITIAL, 1000);
  sti();
  CHECK(await(&count, before + 11));
  cli();
}

static void tsc_deadline(void) {
  u32 leaf[4];
  cpuid(1, 0, leaf);
  CHECK(leaf[2] >> 24 & 1);
  u64 before = count;
  apic_write(APIC_LVT_TIMER, LVT_TSC_DEADLINE | 0x50);
  asm volatile("mfence" ::: "memory");
  apic_write(APIC_TIMER_INITIAL, 1000);  // of no effect in this mode
  CHECK_EQ(apic_read(APIC_TIMER_INITIAL), 0);
  u64 due, armed;
  WITHIN(9000,
    due = rdtsc() + tsc_hz() / 100;
    wrmsr(MSR_TSC_DEADLINE, due);
    armed = rdmsr(MSR_TSC_DEADLINE));
  CHECK_EQ(armed, due);
  before = count;
  sti();
  CHECK(await(&count, before + 1));
  cli();
  CHECK(when >= due);
  CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), 0);
  wrmsr(MSR_TSC_DEADLINE, 1);  // has passed
  open_window();
  CHECK_EQ(count, before + 2);
  // Hours away, until the TSC is set there; then by TSC_ADJUST.
  const u64 far = rdtsc() + 20000 * tsc_hz();
  wrmsr(MSR_TSC_DEADLINE, far);
  open_window();
  CHECK_EQ(count, before + 2);
  wrmsr(MSR_TSC, far);
  open_window();
  CHECK_EQ(count, before + 3);
  wrmsr(MSR_TSC_DEADLINE, rdtsc() + 10000 * tsc_hz());
  wrmsr(MSR_TSC_ADJUST, rdmsr(MSR_TSC_ADJUST) + 10001 * tsc_hz());
  open_window();
  CHECK_EQ(count, before + 4);
  WITHIN(9000,
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + tsc_hz() / 100);
    wrmsr(MSR_TSC_DEADLINE, 0));
  before = count;
  wait_us(12000);
  open_window();
  CHECK_EQ(count, before);
  // A change of mode disarms.
  WITHIN(9000,
    apic_write(APIC_LVT_TIMER, LVT_TSC_DEADLINE | 0x50);
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + tsc_hz() / 100);
    apic_write(APIC_LVT_TIMER, 0x50));
  before = count;
  wait_us(12000);
  open_window();
  CHECK_EQ(count, before);
}

void test(void) {
  cli();
  apic_start();
  set_handler(0x50, on_timer);
  CHECK(apic_hz() && apic_hz() % 1000000 == 0);
  one_shot();
  masked_and_stopped();
  periodic();
  tsc_deadline();
}
