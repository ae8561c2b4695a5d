/* Two vCPUs: start-up through real and protected mode, locked operations (also split across cache
 * lines and pages), CMPXCHG16B, store buffering as x86-TSO allows, cross-modifying code,
 * inter-processor interrupts and NMIs.
 * @vcpus 2
 * @seconds 60
 */
#include "guest.h"

enum { ROUNDS = 20000, SPLITS = ROUNDS / 8 };
static u8 memory[3 * 4096] __attribute__((aligned(4096)));
static volatile u32 phase, done;
static volatile u64 ipis, nmis;

static void on_ipi(struct Frame* f) { (void)f; ++ipis; }
static void on_nmi(struct Frame* f) { (void)f; ++nmis; }
static void add_all(void) {
  for (int i = 0; i < ROUNDS; ++i) {
    u32 one = 1;
    asm volatile("lock incq (%1); lock xaddl %0,64(%1)" : "+r"(one) : "r"(memory) : "memory", "cc");
    if (i % 8 == 0) {
      asm volatile("lock addq $1,(%0)" ::"r"(memory + 4096 - 3) : "memory", "cc");  // two pages
      asm volatile("lock incl (%0)" ::"r"(memory + 128 - 2) : "memory", "cc");      // two lines
    }
    u64 low = AT(u64, memory + 256), high = AT(u64, memory + 264);
    u8 ok;
    do {
      asm volatile("lock cmpxchg16b %3; sete %0"
                   : "=q"(ok), "+a"(low), "+d"(high), "+m"(memory[256])
                   : "b"(low + 1), "c"(high + 3) : "memory", "cc");
    } while (!ok);
  }
}
static void message_side(void) {  // stores are seen in order
  for (u32 i = 1; i <= ROUNDS; ++i) {
    AT(u32, memory + 512) = i;
    AT(u32, memory + 1024) = i;
  }
}
/* A locked access across two lines against one to its upper half alone, plain stores around it, and
 * a reader: it is one access to all of them (SDM vol. 3, 8.1.2). */
#define SPLIT (memory + 2048 - 4)
static void split_side(void) {
  for (int i = 0; i < SPLITS; ++i) {
    const u64 both = 0x100000001;
    asm volatile("lock addq %0,(%1)" ::"r"(both), "r"(SPLIT) : "memory", "cc");
  }
}
static void half_side(void) {
  for (u32 i = 1; i <= SPLITS; ++i) {
    asm volatile("lock incl (%0)" ::"r"(SPLIT + 4) : "memory", "cc");
    AT(u32, SPLIT - 4) = AT(u32, SPLIT + 8) = i;
    CHECK_EQ(AT(u32, SPLIT - 4), i);
    CHECK_EQ(AT(u32, SPLIT + 8), i);
    const u32 low = AT(volatile u32, SPLIT), high = AT(volatile u32, SPLIT + 4);
    CHECK(high - i >= low);
    const u32 high_first = AT(volatile u32, SPLIT + 4), low_then = AT(volatile u32, SPLIT);
    CHECK(low_then >= high_first - i);
  }
}
static void ap(void) {
  asm volatile("sti");
  phase = 1;
  while (phase == 1) pause();
  add_all();
  ++done;
  while (phase == 2) pause();
  split_side();
  ++done;
  while (phase == 3) pause();
  message_side();
  ++done;
  while (phase == 4) pause();
  for (;;) asm volatile("hlt");
}

static u32 call(u64 at) {
  u32 v;
  asm volatile("call *%1" : "=a"(v) : "r"(at) : "memory");
  return v;
}
static volatile u32 wanted, saw;
static void ap_code_runner(void) {
  for (;;) {
    while (wanted == saw) pause();
    const u32 w = wanted;
    u32 r[4];
    cpuid(0, 0, r);  // serialises (SDM vol. 3, 8.1.3)
    if (call(FREE_VA) != w) failed(__FILE__, __LINE__, "cross-modified code", call(FREE_VA), w);
    saw = w;
  }
}

void test(void) {
  CHECK_EQ(cpu_count(), 2);
  set_handler(0x40, on_ipi);
  set_handler(VEC_NMI, on_nmi);
  start_ap(1, ap);
  while (phase != 1) pause();
  phase = 2;
  add_all();
  while (done != 1) pause();
  CHECK_EQ(AT(u64, memory), 2 * ROUNDS);
  CHECK_EQ(AT(u32, memory + 64), 2 * ROUNDS);
  CHECK_EQ(AT(u64, memory + 4096 - 3), 2 * SPLITS);
  CHECK_EQ(AT(u32, memory + 128 - 2), 2 * SPLITS);
  CHECK_EQ(AT(u64, memory + 256), 2 * ROUNDS);
  CHECK_EQ(AT(u64, memory + 264), 6 * ROUNDS);
  phase = 3;
  half_side();
  while (done != 2) pause();
  CHECK_EQ(AT(u32, SPLIT), SPLITS);
  CHECK_EQ(AT(u32, SPLIT + 4), 2 * SPLITS);
  phase = 4;
  while (done != 3) {
    const u32 second = AT(u32, memory + 1024), first = AT(u32, memory + 512);
    CHECK(first >= second);
  }
  phase = 5;
  for (u64 i = 1; i <= 200; ++i) {
    send_interrupt(1, 0x40);
    while (ipis != i) pause();
    send_nmi(1);
    while (nmis != i) pause();
  }
  const u64 page = free_page();
  map_page(FREE_VA, page, PTE_P | PTE_W, 1);
  AT(u8, page) = 0xb8;
  AT(u8, page + 5) = 0xc3;
  start_ap(1, ap_code_runner);
  for (u32 i = 1; i <= 2000; ++i) {
    AT(u32, page + 1) = i;
    wanted = i;
    while (saw != i) pause();
  }
}
