/* The nested tables beneath the guest: when they show a page as accessed and dirty (also the pages of the
 * guest's own tables, SDM vol. 3, 29.3.5), what write protection and removal come to, and that 2 MiB become one
 * mapping and fall apart again without a change of contents. With flags kept by the CPU and emulated ones.
 * @memory plain emulated
 */
#include "guest.h"

enum { STATE = N_MAPPED | N_WRITABLE | N_ACCESSED | N_DIRTY };
#define PAGE 0x2000000ull    // 32 MiB: nothing has touched it
#define REGION 0x2200000ull  // the 2 MiB after that

// Whatever was kept of the old tables is gone when this returns: it leaves the CPU and enters it again.
static void sync(void) { (void)inb(LATCH_EXIT); }
static u32 change(u64 pa, u32 what) {
  const u32 now = nested(pa, what);
  sync();
  return now;
}
static u32 look(u64 pa) { return nested(pa, N_LOOK); }

static void flags(void) {
  CHECK_EQ(look(PAGE) & STATE, 0);
  CHECK_EQ(AT(u64, PAGE), 0);
  CHECK_EQ(look(PAGE) & STATE, N_MAPPED | N_WRITABLE | N_ACCESSED);
  AT(u64, PAGE) = 7;
  CHECK_EQ(look(PAGE) & STATE, STATE);
  CHECK_EQ(change(PAGE, N_CLEAR_DIRTY) & STATE, N_MAPPED | N_WRITABLE | N_ACCESSED);
  CHECK_EQ(AT(u64, PAGE), 7);
  CHECK_EQ(look(PAGE) & N_DIRTY, 0);
  AT(u8, PAGE + 100) = 1;
  CHECK_EQ(look(PAGE) & STATE, STATE);
  CHECK_EQ(change(PAGE, N_CLEAR_ACCESSED) & N_ACCESSED, 0);
  CHECK_EQ(AT(u64, PAGE), 7);
  CHECK_EQ(look(PAGE) & N_ACCESSED, N_ACCESSED);
  CHECK_EQ(change(PAGE, N_REMOVE) & STATE, 0);
  CHECK_EQ(AT(u64, PAGE), 7);
  CHECK_EQ(change(PAGE, N_WRITE_PROTECT) & STATE, N_MAPPED | N_ACCESSED);
  CHECK_EQ(AT(u64, PAGE), 7);
  CHECK_EQ(look(PAGE) & STATE, N_MAPPED | N_ACCESSED);
  AT(u64, PAGE) = 8;
  CHECK_EQ(look(PAGE) & STATE, STATE);
}

static void fetches(void) {
  const u64 page = PAGE + 0x40000;
  AT(u8, page) = 0xc3;  // RET
  change(page, N_REMOVE);
  ((void (*)(void))page)();
  CHECK_EQ(look(page) & (N_ACCESSED | N_DIRTY), N_ACCESSED);
}

// Reading and writing through a fresh translation, whose entry has its own flags set already.
static void tables(void) {
  const u64 page = PAGE + 0x80000;
  map_page(FREE_VA, page, PTE_P | PTE_W | PTE_A | PTE_D, 1);
  AT(u64, FREE_VA) = 1;
  const u64 table = (u64)pte_of(FREE_VA, 1) & ~0xfffull;
  change(table, N_CLEAR_DIRTY);
  invlpg(FREE_VA);
  CHECK_EQ(AT(u64, FREE_VA), 1);
  // Nested A/D flags make every access to the guest's tables a write; without them it is one only if
  // it has to set a flag in there.
  CHECK_EQ(look(table) & N_DIRTY, look(table) & N_EMULATED ? 0 : N_DIRTY);
  invlpg(FREE_VA);
  AT(u64, FREE_VA) = 2;
  CHECK_EQ(look(table) & N_DIRTY, look(table) & N_EMULATED ? 0 : N_DIRTY);
  *pte_of(FREE_VA, 1) &= ~PTE_A;
  change(table, N_CLEAR_DIRTY);
  invlpg(FREE_VA);
  CHECK_EQ(AT(u64, FREE_VA), 2);
  CHECK_EQ(look(table) & N_DIRTY, N_DIRTY);
  CHECK_EQ(*pte_of(FREE_VA, 1) & PTE_A, PTE_A);
}

static void fill(u64 seed) {
  for (u64 n = 0; n < 512; ++n) AT(u64, REGION + n * 4096 + 8 * n % 4096) = n + seed;
}
static void check(u64 seed) {
  for (u64 n = 0; n < 512; ++n) CHECK_EQ(AT(u64, REGION + n * 4096 + 8 * n % 4096), n + seed);
}

static void sizes(void) {
  for (u64 round = 1; round < 6; ++round) {
    fill(round);
    CHECK_EQ(change(REGION, N_PROMOTE) & (STATE | N_LARGE), STATE | N_LARGE);
    check(round);
    fill(round * 1000);
    CHECK_EQ(look(REGION) & N_LARGE, N_LARGE);
    const u64 victim = REGION + round * 77 * 4096;
    CHECK_EQ(change(victim, round & 1 ? N_WRITE_PROTECT : N_REMOVE) & (N_LARGE | N_WRITABLE), 0);
    CHECK_EQ(look(REGION) & (STATE | N_LARGE), STATE);  // its neighbours keep what they had
    check(round * 1000);
    AT(u64, victim) = 5;
    CHECK_EQ(look(victim) & STATE, STATE);
    CHECK_EQ(AT(u64, victim), 5);
  }
}

void test(void) {
  flags();
  fetches();
  tables();
  sizes();
}
