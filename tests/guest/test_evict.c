/* Two vCPUs that unmap, write-protect and forget each other's pages while these are read, written, locked and
 * executed: nothing is lost and nothing stale is used. A dirty flag that one clears is seen set again after the
 * other's next write.
 * @vcpus 2
 * @seconds 60
 */
#include "guest.h"

enum { PAGES = 96, ROUNDS = 2000, FLAG_ROUNDS = 200 };
#define DATA(cpu) (0x2000000ull + (cpu) * 0x400000ull)
#define CODE(cpu) (0x2800000ull + (cpu) * 0x400000ull)
#define SHARED 0x3000000ull  // both count here

static volatile u32 started, finished, asked, answered, quit;

static u32 call(u64 at) {
  u32 v;
  asm volatile("call *%1" : "=a"(v) : "r"(at) : "memory");
  return v;
}

static void torment(unsigned other, u64 random) {
  static const u8 what[] = {N_REMOVE, N_WRITE_PROTECT, N_CLEAR_ACCESSED, N_CLEAR_DIRTY, N_PROMOTE, N_INVALIDATE};
  const u64 page = random >> 32 & 1   ? CODE(other)
                   : random >> 33 & 1 ? SHARED
                                      : DATA(other) + (random >> 40) % PAGES * 4096;
  (void)nested(page, what[(random >> 16 & 255) % 6]);
}

static void work(unsigned cpu) {
  static u32 model[2][PAGES];
  u64 random = 88172645463325252ull + cpu;
  AT(u8, CODE(cpu)) = 0xb8;  // mov $imm, %eax; ret
  AT(u8, CODE(cpu) + 5) = 0xc3;
  for (u32 n = 1; n <= ROUNDS; ++n) {
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    torment(!cpu, random);
    const u32 page = (u32)(random >> 24) % PAGES;
    const u64 at = DATA(cpu) + page * 4096ull + page * 8;
    CHECK_EQ(AT(u32, at), model[cpu][page]);
    AT(u32, at) = model[cpu][page] = n;
    CHECK_EQ(AT(u32, at), n);
    asm volatile("lock incq (%0)" ::"r"(SHARED) : "memory", "cc");
    if (n % 8 == 0) AT(u32, CODE(cpu) + 1) = n;
    CHECK_EQ(call(CODE(cpu)), n / 8 * 8);
  }
  for (u32 page = 0; page < PAGES; ++page)
    CHECK_EQ(AT(u32, DATA(cpu) + page * 4096ull + page * 8), model[cpu][page]);
}

static void ap(void) {
  started = 1;
  while (!finished) pause();
  work(1);
  ++finished;
  u32 seen = 0;
  while (!quit) {
    if (asked == seen) { pause(); continue; }
    seen = asked;
    AT(u32, DATA(1)) = seen;
    answered = seen;
  }
  for (;;) asm volatile("hlt");
}

// A page that is told to be clean when nobody uses older translations is clean until it is written.
static void dirty_flags(void) {
  for (u32 n = 1; n <= FLAG_ROUNDS; ++n) {
    (void)nested(DATA(1), n & 1 ? N_CLEAR_DIRTY : N_WRITE_PROTECT);
    nested_wait();
    asked = n;
    while (answered != n) pause();
    CHECK_EQ(nested(DATA(1), N_LOOK) & N_DIRTY, N_DIRTY);
    CHECK_EQ(AT(u32, DATA(1)), n);
  }
}

void test(void) {
  CHECK_EQ(cpu_count(), 2);
  start_ap(1, ap);
  while (!started) pause();
  finished = 1;
  work(0);
  while (finished != 2) pause();
  CHECK_EQ(AT(u64, SHARED), 2 * ROUNDS);
  if (!(nested(DATA(1), N_LOOK) & N_PESTERED)) dirty_flags();
  quit = 1;
}
