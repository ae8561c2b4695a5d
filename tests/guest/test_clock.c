/* Reading the TSC: an interrupt that was due before comes before, however late the thread is that makes
 * it; but not in the shadow of STI and not with IF clear. It is looked for once in a while only.
 */
#include "guest.h"

#define LATE (1u << 18)
static volatile u64 count, last_rip;
static void on_interrupt(struct Frame* f) {
  ++count;
  last_rip = f->rip;
}
// So long that the next read of the clock looks.
static NOINLINE void wait_a_while(void) {
  for (u64 i = 0; i < 100000; ++i) asm volatile("");
}
static NOINLINE u64 read_twice(u64* before) {
  u64 first;
  asm volatile("lea 1f(%%rip),%0; 1: rdtsc; shl $32,%%rdx; or %%rax,%%rdx; mov %%rdx,%1"
               : "=&b"(*before), "=&c"(first)::"rax", "rdx", "memory");
  return first;
}

static void comes_before(void) {
  for (int i = 0; i < 30; ++i) {
    count = 0;
    outl(PORT_EVENT, LATE | 0x40);
    wait_a_while();
    CHECK_EQ(count, 0);
    u64 at;
    read_twice(&at);
    CHECK_EQ(count, 1);
    CHECK_EQ(last_rip, at);
  }
}

static void waits_for_if(void) {
  for (int i = 0; i < 30; ++i) {
    cli();
    count = 0;
    outl(PORT_EVENT, LATE | 0x40);
    wait_a_while();
    rdtsc();
    wait_a_while();
    rdtsc();
    CHECK_EQ(count, 0);
    asm volatile("sti; nop; nop" ::: "memory");
    CHECK_EQ(count, 1);
    // The instruction after STI runs first, also when it is this one.
    cli();
    outl(PORT_EVENT, LATE | 0x40);
    wait_a_while();
    u64 after;
    asm volatile("lea 1f(%%rip),%0; sti; rdtsc; 1: nop; nop" : "=&b"(after)::"rax", "rdx", "memory");
    CHECK_EQ(count, 2);
    CHECK_EQ(last_rip, after);
  }
}

void test(void) {
  set_handler(0x40, on_interrupt);
  sti();
  comes_before();
  waits_for_if();
}
