/* What stays translated and what does not: INVLPG, global pages, CR3, CR4.PGE, PCID with the
 * no-flush bit, INVPCID in its four types (SDM vol. 3, 4.10). Staleness itself is never demanded,
 * only that invalidation works and that address spaces do not mix.
 */
#include "guest.h"

enum { SPACES = 8 };  // more than any CPU's TLB need keep apart
static u64 page[SPACES];
static u64 space[SPACES];
static u64 leaf[SPACES];  // the table that maps VA
#define VA FREE_VA

static void set(u64 n, u64 flags) { *pte_of(VA, 1) = page[n] | PTE_P | PTE_W | flags; }
static void bad_invpcid(u64 type) { invpcid(type, 0, 0); }
static void bad_pcid(u64 pcid) { invpcid(1, pcid, 0); }
static void bad_address(u64 va) { invpcid(0, 0, va); }
static void set_pcide(u64 unused) { (void)unused; write_cr4(read_cr4() | CR4_PCIDE); }
USER static u64 user_invlpg(u64 a) { invlpg(a); return 0; }

static void plain(void) {
  set(0, 0);
  CHECK_EQ(AT(u64, VA), 1);
  set(1, 0);
  invlpg(VA + 0x123);
  CHECK_EQ(AT(u64, VA), 2);
  set(0, 0);
  write_cr3(read_cr3());
  CHECK_EQ(AT(u64, VA), 1);
  write_cr4(read_cr4() | CR4_PGE);
  set(1, PTE_G);
  invlpg(VA);
  CHECK_EQ(AT(u64, VA), 2);
  set(0, PTE_G);
  invlpg(VA);  // global pages too
  CHECK_EQ(AT(u64, VA), 1);
  set(1, PTE_G);
  write_cr4(read_cr4() & ~CR4_PGE);
  CHECK_EQ(AT(u64, VA), 2);
}

USER static u64 user_read(u64 a) { return *(volatile u64*)a; }
USER static u64 user_run(u64 a) { return ((u64(*)(void))a)(); }

static void show(int in, int which) {
  AT(u64, leaf[in] + 8 * (VA >> 12 & 511)) = page[which] | PTE_P | PTE_W | PTE_U;
}

// Address spaces that differ in what VA shows.
static void make_spaces(void) {
  for (int i = 0; i < SPACES; ++i) {
    space[i] = free_page();
    for (int e = 0; e < 512; ++e) AT(u64, space[i] + 8 * e) = AT(u64, (read_cr3() & ~0xfffull) + 8 * e);
    u64 table = space[i];
    for (unsigned level = 4; level > 1; --level) {
      const u64 at = table + 8 * (VA >> (12 + 9 * (level - 1)) & 511), below = free_page();
      AT(u64, at) = below | PTE_P | PTE_W | PTE_U;
      table = below;
    }
    leaf[i] = table;
    show(i, i);
  }
}

static void pcids(void) {
  const u64 first = read_cr3();
  CHECK_EQ(try_call(set_pcide, 0).vector, NO_TRAP);
  for (int i = 0; i < 8; ++i) {
    write_cr3(space[i & 1] | (1 + (i & 1)) | (i >= 2 ? 1ull << 63 : 0));
    CHECK_EQ(AT(u64, VA), 1 + (i & 1));
    CHECK_EQ(read_cr3(), space[i & 1] | (1 + (i & 1)));  // bit 63 is not kept
  }
  write_cr3(space[0] | 1 | 1ull << 63);
  for (u64 type = 0; type < 4; ++type) {
    CHECK_EQ(AT(u64, VA), 1 + (type & 1));
    *pte_of(VA, 1) = 0;  // of the first tables: not in use here
    show(0, ~type & 1);
    invpcid(type, type < 2 ? 1 : 0, type == 0 ? VA : 0);
    CHECK_EQ(AT(u64, VA), 1 + (~type & 1));
  }
  show(0, 0);
  write_cr3(first);
  write_cr4(read_cr4() & ~CR4_PCIDE);
}

static void enter(int i, int keep) { write_cr3(space[i] | (u64)(1 + i) | (keep ? 1ull << 63 : 0)); }
static void user_sees(int which) {
  CHECK_EQ(try_user(user_read, VA).rax, 1 + which);
  CHECK_EQ(try_user(user_run, VA + 16).rax, 1 + which);
}

// What users read and run in spaces that keep their translations while others are current; and what a
// space shows whose translations were dropped from outside.
static void user_pcids(void) {
  const u64 first = read_cr3();
  CHECK_EQ(try_call(set_pcide, 0).vector, NO_TRAP);
  for (int round = 0; round < 6; ++round)
    for (int i = 0; i < (round & 1 ? 3 : SPACES); ++i) {
      enter(i, round > 0);
      user_sees(i);
    }
  for (u64 way = 0; way < 5; ++way) {
    enter(1, 1);
    user_sees(1);
    show(0, way & 1 ? 0 : 7);
    if (way < 4) invpcid(way, way < 2 ? 1 : 0, way == 0 ? VA : 0);
    enter(0, way < 4);
    user_sees(way & 1 ? 0 : 7);
  }
  enter(1, 1);
  user_sees(1);
  show(1, 2);
  invlpg(VA);
  user_sees(2);
  enter(2, 1);
  user_sees(2);
  write_cr3(first);
  write_cr4(read_cr4() & ~CR4_PCIDE);
}

void test(void) {
  for (int i = 0; i < SPACES; ++i) {
    page[i] = free_page();
    AT(u64, page[i]) = 1 + i;
    AT(u64, page[i] + 16) = 0xb8ull | (u64)(1 + i) << 8;  // mov eax, 1 + i; ret
    AT(u8, page[i] + 21) = 0xc3;
  }
  map_page(VA, page[0], PTE_P | PTE_W, 1);
  plain();
  make_spaces();
  CHECK_EQ(try_call(bad_invpcid, 4).vector, VEC_GP);
  CHECK_EQ(try_call(bad_pcid, 0x1000).vector, VEC_GP);
  CHECK_EQ(try_call(bad_pcid, 1).vector, VEC_GP);  // CR4.PCIDE = 0: only PCID 0
  CHECK_EQ(try_call(bad_address, 0x800000000000).vector, VEC_GP);
  CHECK_EQ(try_user(user_invlpg, 0).vector, VEC_GP);
  pcids();
  user_pcids();
}
