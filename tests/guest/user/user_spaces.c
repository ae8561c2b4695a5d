/* Many address spaces of user code: what is shared and what is private, with and without PCIDs and the no-flush
 * bit; tables that are used again for something else; more pages than a process may have mappings; pages all over
 * the lower half of the addresses (SDM vol. 3, 4.10).
 * @seconds 60
 */
#include "service.h"

#define VA FREE_VA
#define SHARED (VA + 0x1000)
#define GLOBAL (VA + 0x200000)
#define NO_FLUSH (1ull << 63)
#define READ(at) (*(volatile u64*)(at))
enum { SPACES = 80, RUN = 64 };
static u64 space[SPACES], page[SPACES], turns[SPACES];

static void put_page(u64 pml4, u64 va, u64 entry) { *space_pte(pml4, va, 1) = entry; }
static void new_spaces(u64 shared, u64 global) {
  for (u64 n = 0; n < SPACES; ++n) {
    space[n] = new_space();
    page[n] = frame();
    AT(u64, page[n]) = n;
    put_function(page[n] + RUN, (u32)n);
    put_page(space[n], VA, page[n] | PTE_URW);
    put_page(space[n], SHARED, shared | PTE_URW);
    put_page(space[n], GLOBAL, global | PTE_URW | PTE_G);
  }
}

USER static u64 visit(u64 number) {
  USER_EQ("whose page", READ(VA), number);
  USER_EQ("whose code", ((u64(*)(void))(VA + RUN))(), number);
  ++READ(SHARED);
  ++READ(GLOBAL);
  return ++READ(VA + 8);
}
// In an order that nobody can guess, with ever other choices of PCID and flushing.
static void visit_all(u64 visits, int pcids) {
  static u64 seed = 3, all;
  const u64 shared = *space_pte(space[0], SHARED, 1) & 0xffffffffff000;
  const u64 global = *space_pte(space[0], GLOBAL, 1) & 0xffffffffff000;
  all = AT(u64, shared);
  for (u64 n = 0; n < visits; ++n) {
    const u64 r = next_random(&seed) >> 33, i = r & 3 ? r % 5 : r % SPACES;
    write_cr3(space[i] | (pcids ? (i + 1) | (r >> 10 & 1 ? NO_FLUSH : 0) : 0));
    CHECK_EQ(serve_user(visit, i, 0, 0), ++turns[i]);
    CHECK_EQ(AT(u64, page[i] + 8), turns[i]);
    CHECK_EQ(AT(u64, shared), ++all);
    CHECK_EQ(AT(u64, global), all);
  }
}

// ---- a space that becomes another -----------------------------------------------------------------------------
USER static u64 look(u64 unused) { return READ(VA + unused) + (((u64(*)(void))(VA + RUN))() << 32); }
static void becomes_another(u64 base, u64 pcid) {
  const u64 first = new_space() & ~0xfffull;
  u64 tables[4];
  for (u64 n = 0; n < 4; ++n) {  // four versions of all below one entry of the PML4
    const u64 one = new_space();
    put_page(one, VA, page[n] | PTE_URW);
    tables[n] = *space_pte(one, VA, 4);
  }
  volatile u64* const entry = space_pte(first, VA, 4);
  for (u64 n = 0; n < 200; ++n) {
    *entry = tables[n % 4];
    write_cr3(first | pcid);  // flushes, though it is the same
    CHECK_EQ(serve_user(look, 0, 0, 0), n % 4 | n % 4 << 32);
    *entry = tables[(n + 1) % 4];
    invlpg(VA);
    CHECK_EQ(serve_user(look, 0, 0, 0), (n + 1) % 4 | (n + 1) % 4 << 32);
    if (n % 7 == 0) {
      *entry = 0;
      invlpg(VA);
      struct User u = call_user(look, 0);
      CHECK_EQ(u.vector, VEC_PF);
      CHECK_EQ(u.cr2, VA);
      CHECK_EQ(u.error, PF_U);
      *entry = tables[n % 4];  // there again: nobody has kept that it was not
      run_user(&u);
      CHECK_EQ(u.vector, VEC_USER_END);
      CHECK_EQ(u.rax, n % 4 | n % 4 << 32);
    }
  }
  // the same frame, all new: of a process that ended, for one that begins
  for (u64 n = 0; n < 100; ++n) {
    write_cr3(base | (pcid ? 9 : 0));
    for (u64 k = 1; k < 512; ++k) AT(u64, first + 8 * k) = 0;
    AT(u64, first + 8 * (VA >> 39)) = tables[n * 3 % 4];
    write_cr3(first | pcid);
    CHECK_EQ(serve_user(look, 0, 0, 0), n * 3 % 4 | (n * 3 % 4) << 32);
  }
  // tables below exchange what they are for
  volatile u64* const pde = space_pte(first, VA, 2);
  const u64 was = *pde, other = frame();
  for (u64 n = 0; n < 100; ++n) {
    AT(u64, other + 8 * (VA >> 12 & 511)) = page[n % 3] | PTE_URW;
    *pde = other | PTE_URW;
    write_cr3(first | pcid);
    CHECK_EQ(serve_user(look, 0, 0, 0), n % 3 | n % 3 << 32);
    *pde = was;
    invlpg(VA);
    CHECK_EQ(serve_user(look, 0, 0, 0), AT(u64, *space_pte(first, VA, 1) & 0xffffffffff000) * 0x100000001);
  }
  write_cr3(base);
}

// Two PCIDs of one space, and one PCID that goes from space to space.
static void pcids_that_move(u64 base) {
  for (u64 n = 0; n < 100; ++n) {
    write_cr3(space[0] | 100 | (n ? NO_FLUSH : 0));
    CHECK_EQ(serve_user(look, 0, 0, 0) & 0xffffffff, 0);
    write_cr3(space[0] | 101 | (n ? NO_FLUSH : 0));
    CHECK_EQ(serve_user(look, 0, 0, 0) & 0xffffffff, 0);
    write_cr3(space[1 + n % 3] | 102);
    CHECK_EQ(serve_user(look, 0, 0, 0) & 0xffffffff, 1 + n % 3);
    put_page(space[0], VA, page[7] | PTE_URW);  // changed while another is current
    invpcid(n % 3 ? 1 : 2, 100, 0);
    invpcid(n % 3 ? 1 : 3, 101, 0);
    write_cr3(space[0] | 101 | NO_FLUSH);
    CHECK_EQ(serve_user(look, 0, 0, 0) & 0xffffffff, 7);
    put_page(space[0], VA, page[0] | PTE_URW);
    invpcid(0, 100, VA);
    invlpg(VA);
    write_cr3(space[0] | 100 | NO_FLUSH);
    CHECK_EQ(serve_user(look, 0, 0, 0) & 0xffffffff, 0);
  }
  write_cr3(base);
}

// ---- more pages than mappings -------------------------------------------------------------------------------------
enum { PAGES = 70000 };
#define MANY (VA + (100ull << 39))
USER static u64 sum(u64 pages) {
  u64 v = 0;
  for (u64 n = 0; n < pages; ++n) v = v * 3 + READ(MANY + n * 4096);
  return v;
}
USER static u64 write_some(u64 step) {
  u64 count = 0;
  for (u64 n = 0; n < PAGES; n += step, ++count) READ(MANY + n * 4096 + 16) = n;
  return count;
}
USER static u64 read_only(u64 at) {
  USER_EQ("remapped", READ(at), 30);
  USER_EQ("read-only", probe_write(at, 1), PROBE_FAULT | PF_P | PF_W | PF_U);
  return 0;
}
static u64 wanted_sum(u64 value_of_odd, u64 value_of_even) {
  u64 v = 0;
  for (u64 n = 0; n < PAGES; ++n) v = v * 3 + (n & 1 ? value_of_odd : value_of_even);
  return v;
}
static void many_pages(u64 base) {
  const u64 one = new_space();
  static u64 tables[(PAGES + 511) / 512];
  for (u64 n = 0; n < PAGES; n += 512) tables[n / 512] = (u64)space_pte(one, MANY + n * 4096, 1);
  const u64 a = page[10], b = page[20], c = page[30];
  for (u64 n = 0; n < PAGES; ++n) AT(u64, tables[n / 512] + 8 * (n % 512)) = (n & 1 ? a : b) | PTE_URW;
  write_cr3(one);
  CHECK_EQ(serve_user(sum, PAGES, 0, 0), wanted_sum(10, 20));
  CHECK_EQ(serve_user(write_some, 7, 0, 0), (PAGES + 6) / 7);
  u64 last[2] = {0, 0};
  for (u64 n = 0; n < PAGES; n += 7) last[n & 1] = n;
  CHECK_EQ(AT(u64, a + 16), last[1]);
  CHECK_EQ(AT(u64, b + 16), last[0]);
  for (u64 n = 0; n < PAGES; n += 1003) {  // accessed all, dirty every seventh
    const u64 flags = n % 7 ? 0x20 : 0x60;
    CHECK_EQ(AT(u64, tables[n / 512] + 8 * (n % 512)) & 0x60, flags);
    AT(u64, tables[n / 512] + 8 * (n % 512)) = c | PTE_UR;
    invlpg(MANY + n * 4096);
    serve_user(read_only, MANY + n * 4096, 0, 0);
  }
  write_cr3(base);
}

// ---- all over the place ---------------------------------------------------------------------------------------------
enum { PLACES = 150 };
static USER_DATA u64 places[PLACES];
USER static u64 all_places(u64 round) {
  for (u64 n = 0; n < PLACES; ++n) {
    USER_EQ("place", READ(places[n]), n + round);
    READ(places[n]) = n + round + 1;
  }
  return 0;
}
static void everywhere(u64 base) {
  const u64 one = new_space();
  u64 seed = 11;
  for (u64 n = 0; n < PLACES; ++n) {
    const u64 where = (next_random(&seed) >> 17 & 0x7ffffffff000) | 1ull << 39;  // not in the kernel's entry
    volatile u64* e = space_pte(one, where, 1);
    const u64 to = frame();
    *e = to | PTE_URW;
    places[n] = where + n * 8;
    AT(u64, to + n * 8) = n;
  }
  write_cr3(one);
  for (u64 round = 0; round < 10; ++round) serve_user(all_places, round, 0, 0);
  write_cr3(base);
}

void test(void) {
  user_init();
  const u64 base = read_cr3();
  write_cr4(read_cr4() | CR4_PGE);
  new_spaces(frame(), frame());
  visit_all(600, 0);
  becomes_another(base, 0);
  many_pages(base);
  everywhere(base);
  write_cr4(read_cr4() | CR4_PCIDE);
  visit_all(600, 1);
  becomes_another(base, 8);
  pcids_that_move(base);
}
