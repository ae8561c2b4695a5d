/* User code sees what the kernel makes of its pages: remapped, protected, filled on demand, copied on write,
 * aliased, cleaned, global or not, by every way to invalidate; and the kernel sees what user code wrote
 * (SDM vol. 3, 4.7, 4.8, 4.10).
 * @seconds 60
 */
#include "service.h"

#define VA FREE_VA
enum { ROUNDS = 250, RUN = 16 };
static USER_DATA volatile u64 frame_a, frame_b, frame_c, global_bit;
static USER_DATA u64 got;

#define READ(at) (*(volatile u64*)(at))

// ---- remapped -------------------------------------------------------------------------------------------
USER static u64 remapped(u64 how) {
  for (u64 n = 0; n < ROUNDS; ++n) {
    const u64 now = n & 1 ? frame_b : frame_a, other = n & 1 ? frame_a : frame_b;
    sys(CALL_SET_ONLY, VA, now | PTE_URW | global_bit);
    sys(CALL_FLUSH, how, VA);
    USER_EQ("remapped: read", READ(VA), 1 + (n & 1));
    READ(VA + 8) = n;
    USER_EQ("remapped: write", sys(CALL_PEEK, now + 8, 0), n);
    if (n) USER_EQ("remapped: other page", sys(CALL_PEEK, other + 8, 0), n - 1);
    USER_EQ("remapped: run", ((u64(*)(void))(VA + RUN))(), 1 + (n & 1));
  }
  return 0;
}

static void fill_frames(void) {
  AT(u64, frame_a) = 1, AT(u64, frame_b) = 2, AT(u64, frame_c) = 3;
  put_function(frame_a + RUN, 1), put_function(frame_b + RUN, 2), put_function(frame_c + RUN, 3);
}

static void all_flushes(void) {
  for (global_bit = 0; global_bit <= PTE_G; global_bit += PTE_G)
    for (enum Flush how = 0; how < FLUSHES; ++how) {
      if (global_bit && (how == FLUSH_CR3 || how == FLUSH_PCID_1 || how == FLUSH_PCID_3 || how == FLUSH_PCID_0)) continue;
      fill_frames();
      serve_user(remapped, how, 0, 0);
    }
  global_bit = 0;
}

// ---- rights ---------------------------------------------------------------------------------------------
USER static u64 toggled(u64 how) {
  for (u64 n = 0; n < ROUNDS; ++n) {
    const u64 flags = (n & 1 ? PTE_W : 0) | (n & 2 ? PTE_NX : 0) | (n % 5 ? PTE_U : 0) | (n % 7 ? PTE_P : 0);
    sys(CALL_SET_ONLY, VA, frame_a | flags);
    sys(CALL_FLUSH, how, VA);
    const u64 p = flags & PTE_P ? PF_P : 0;
    const int user = (flags & (PTE_P | PTE_U)) == (PTE_P | PTE_U);
    USER_EQ("toggled: read", probe_read(VA, &got), user ? 0 : PROBE_FAULT | PF_U | p);
    USER_EQ("toggled: write", probe_write(VA + 8, n), user && flags & PTE_W ? 0 : PROBE_FAULT | PF_U | PF_W | p);
    if (user && flags & PTE_W) USER_EQ("toggled: written", sys(CALL_PEEK, frame_a + 8, 0), n);
    USER_EQ("toggled: run", probe_run(VA + RUN), user && !(flags & PTE_NX) ? 1 : PROBE_FAULT | PF_U | PF_I | p);
  }
  return 0;
}

// Rights that grow need no invalidation: at worst there is one fault more.
USER static u64 grown(u64 unused) {
  for (u64 n = 0; n < ROUNDS; ++n) {
    sys(CALL_SET, VA, 0);
    USER_EQ("grown: not there", probe_read(VA, &got), PROBE_FAULT | PF_U);
    sys(CALL_SET_ONLY, VA, frame_a | PTE_UR);
    USER_EQ("grown: there", probe_read(VA, &got), 0);
    USER_EQ("grown: read-only", probe_write(VA + 8, 1), PROBE_FAULT | PF_U | PF_W | PF_P);
    sys(CALL_SET_ONLY, VA, frame_a | PTE_URW);
    const u64 first = probe_write(VA + 8, n);
    if (first) USER_EQ("grown: writable", probe_write(VA + 8, n), 0);
    USER_EQ("grown: written", sys(CALL_PEEK, frame_a + 8, 0), n);
  }
  return unused;
}

// ---- accessed and dirty ------------------------------------------------------------------------------------
enum { A = 0x20, D = 0x40 };
USER static u64 cleaned(u64 how) {
  for (u64 n = 0; n < ROUNDS; ++n) {
    const u64 kept = n & 1 ? A : 0;
    sys(CALL_SET_ONLY, VA, frame_a | PTE_URW | kept);
    sys(CALL_FLUSH, how, VA);
    USER_EQ("cleaned: before", sys(CALL_GET, VA, 0) & (A | D), kept);
    if (n % 3) {
      (void)READ(VA);
      USER_EQ("cleaned: read", sys(CALL_GET, VA, 0) & (A | D), A);
    }
    if (n % 4 == 1) {
      USER_EQ("cleaned: run", probe_run(VA + RUN), 1);
      USER_EQ("cleaned: run", sys(CALL_GET, VA, 0) & (A | D), A);
    }
    READ(VA + 8) = n;
    USER_EQ("cleaned: write", sys(CALL_GET, VA, 0) & (A | D), A | D);
    READ(VA + 8) = n + 1;
    USER_EQ("cleaned: again", sys(CALL_PEEK, frame_a + 8, 0), n + 1);
  }
  return 0;
}

// ---- filled on demand ----------------------------------------------------------------------------------------
enum { REGION = 512 };
#define REGION_VA (VA + (64ull << 30))
static u8 filled[REGION];
static int fill(struct User* u) {
  const u64 n = (u->cr2 - REGION_VA) >> 12;
  if (n >= REGION || filled[n]) return 0;
  CHECK_EQ(u->error & ~2u, PF_U);
  filled[n] = 1;
  const u64 page = frame();
  AT(u64, page) = n;
  *space_pte(read_cr3(), u->cr2, 1) = page | PTE_URW;
  return 1;
}
USER static u64 touch_all(u64 seed) {
  u64 x = seed;
  for (u64 n = 0; n < REGION * 8; ++n) {
    const u64 r = next_random(&x) >> 40, at = REGION_VA + (r % REGION) * 4096, word = at + 8 * (1 + r / REGION % 500);
    if (n & 1) {
      USER_EQ("demand: number", READ(at), r % REGION);
    } else {
      READ(word) = word;
      USER_EQ("demand: word", READ(word), word);
    }
  }
  return sys(CALL_FAULTS, 0, 0);
}
static void on_demand(void) {
  const u64 faults = serve_user(touch_all, 12345, 0, fill);
  u64 pages = 0;
  for (u64 n = 0; n < REGION; ++n)
    if (filled[n]) {
      ++pages;
      const u64 entry = *space_pte(read_cr3(), REGION_VA + n * 4096, 1);
      CHECK_EQ(AT(u64, entry & 0xffffffffff000), n);
      CHECK_EQ(entry & A, A);
    } else {
      CHECK_EQ(*space_pte(read_cr3(), REGION_VA + n * 4096, 1), 0);
    }
  CHECK_EQ(faults, pages);
  CHECK_EQ(serve_user(touch_all, 12345, 0, fill), 0);
}

// ---- copied on write -------------------------------------------------------------------------------------------
static u64 copies;
static int copy(struct User* u) {
  volatile u64* e = space_pte(read_cr3(), u->cr2, 1);
  if (u->error != (PF_P | PF_W | PF_U) || (*e & 0xffffffffff000) != frame_c) return 0;
  CHECK_EQ(*e & D, 0);
  const u64 page = frame();
  for (u64 n = 0; n < 4096; n += 8) AT(u64, page + n) = AT(u64, frame_c + n);
  *e = page | PTE_URW;
  invlpg(u->cr2);
  ++copies;
  return 1;
}
USER static u64 write_shared(u64 pages) {
  for (u64 n = 0; n < pages; ++n) USER_EQ("shared: read", READ(VA + n * 4096), 3);
  for (u64 n = 0; n < pages; n += 2) READ(VA + n * 4096) = 100 + n;
  for (u64 n = 0; n < pages; ++n) {
    USER_EQ("shared: after", READ(VA + n * 4096), n & 1 ? 3 : 100 + n);
    USER_EQ("shared: rest", READ(VA + n * 4096 + 4088), 77);
  }
  return 0;
}
static void copy_on_write(void) {
  AT(u64, frame_c + 4088) = 77;
  for (u64 n = 0; n < 64; ++n) set_page(VA + n * 4096, frame_c | PTE_UR);
  serve_user(write_shared, 64, 0, copy);
  CHECK_EQ(copies, 32);
  CHECK_EQ(AT(u64, frame_c), 3);
  CHECK_EQ(*space_pte(read_cr3(), VA + 4096, 1) & (A | D), A);
  for (u64 n = 1; n < 64; ++n) set_page(VA + n * 4096, 0);
}

// ---- several addresses of one page ------------------------------------------------------------------------------
USER static u64 aliased(u64 unused) {
  for (u64 n = 1; n < ROUNDS; ++n) {
    READ(VA + 32) = n;
    USER_EQ("alias: small", READ(VA + 0x1020), n);
    USER_EQ("alias: far", READ(VA + (1ull << 40) + 0x20), n);
    USER_EQ("alias: kernel", sys(CALL_PEEK, frame_a + 32, 0), n);
    sys(CALL_POKE, frame_a + 32, ~n);
    USER_EQ("alias: by kernel", READ(VA + 0x1020), ~n);
    READ(VA + (1ull << 40) + 0x21) = n;
    USER_EQ("alias: unaligned", READ(VA + 0x21), n);
  }
  USER_EQ("alias: read-only", probe_write(VA + 0x1020, 5), PROBE_FAULT | PF_P | PF_W | PF_U);
  USER_EQ("alias: read-only", READ(VA + 0x21), ROUNDS - 1);
  return unused;
}
// A large page and small ones of the same memory, the small ones in disorder.
#define BIG 0x2000000ull
#define BIG_VA (VA + (32ull << 30))
USER static u64 aliased_large(u64 pages) {
  for (u64 n = 0; n < pages; ++n) READ(BIG_VA + n * 4096) = n + 1000;
  for (u64 n = 0; n < pages; ++n) USER_EQ("alias of large", READ(BIG_VA + (1ull << 30) + (pages - 1 - n) * 4096), n + 1000);
  for (u64 n = 0; n < pages; ++n) READ(BIG_VA + (1ull << 30) + n * 4096 + 8) = n;
  for (u64 n = 0; n < pages; ++n) USER_EQ("large of alias", READ(BIG_VA + n * 4096 + 8), pages - 1 - n);
  return 0;
}
static void aliases(void) {
  set_page(VA, frame_a | PTE_URW);
  set_page(VA + 0x1000, frame_a | PTE_UR);
  set_page(VA + (1ull << 40), frame_a | PTE_URW);
  serve_user(aliased, 0, 0, 0);
  *space_pte(read_cr3(), BIG_VA, 2) = BIG | PTE_URW | PTE_PS;
  for (u64 n = 0; n < 512; ++n) *space_pte(read_cr3(), BIG_VA + (1ull << 30) + n * 4096, 1) = (BIG + (511 - n) * 4096) | PTE_URW;
  serve_user(aliased_large, 512, 0, 0);
}

// ---- large pages that are split and joined -------------------------------------------------------------------------
USER static u64 split_read(u64 odd) {
  for (u64 n = 0; n < 512; n += 31)
    USER_EQ("split", READ(BIG_VA + n * 4096 + 16), odd && n % 2 ? 511 - n : n);
  USER_EQ("split: rights", probe_write(BIG_VA + 62 * 4096 + 24, 1), odd ? PROBE_FAULT | PF_P | PF_W | PF_U : 0);
  return 0;
}
static void split_and_join(void) {
  const u64 table = frame();
  volatile u64* e = space_pte(read_cr3(), BIG_VA, 2);
  for (u64 n = 0; n < 512; ++n) AT(u64, BIG + n * 4096 + 16) = n;
  for (int round = 0; round < 20; ++round) {
    *e = BIG | PTE_URW | PTE_PS;
    write_cr3(read_cr3());
    serve_user(split_read, 0, 0, 0);
    for (u64 n = 0; n < 512; ++n)
      AT(u64, table + 8 * n) = (BIG + (n % 2 ? 511 - n : n) * 4096) | (n == 62 ? PTE_UR : PTE_URW);
    *e = table | PTE_URW;
    invlpg(BIG_VA + 0x12345);  // of all of the large page
    serve_user(split_read, 1, 0, 0);
  }
}

// ---- tables that user code writes itself ---------------------------------------------------------------------------
#define TABLE_VA (VA + 0x1ff000)
USER static u64 own_tables(u64 unused) {
  volatile u64* entry = (volatile u64*)(TABLE_VA + 8 * (VA >> 12 & 511));
  for (u64 n = 0; n < ROUNDS; ++n) {
    *entry = (n % 3 == 0 ? frame_a : n % 3 == 1 ? frame_b : frame_c) | PTE_URW;
    sys(CALL_INVLPG, VA, 0);
    USER_EQ("own tables", READ(VA), 1 + n % 3);
    USER_EQ("own tables: A", *entry & (A | D), A);
    READ(VA + 64) = n;
    USER_EQ("own tables: D", *entry & (A | D), A | D);
  }
  return unused;
}
static void user_tables(void) {
  fill_frames();
  const u64 table = *space_pte(read_cr3(), VA, 2) & 0xffffffffff000;
  set_page(TABLE_VA, table | PTE_URW);
  serve_user(own_tables, 0, 0, 0);
  set_page(TABLE_VA, 0);
}

// ---- memory that is not RAM ------------------------------------------------------------------------------------------
USER static u64 device(u64 at) {
  for (u64 n = 0; n < 200; ++n) {
    *(volatile u32*)(at + 16) = (u32)(n * 0x01010101);
    USER_EQ("device", *(volatile u32*)(at + 16), (u32)(n * 0x01010101));
    USER_EQ("device", *(volatile u8*)(at + 18), (u8)n);
    *(volatile u32*)(at + 0x1010) = (u32)n;
    USER_EQ("device outside", *(volatile u32*)(at + 0x1010), (u32)n);
    USER_EQ("nobody", *(volatile u32*)(at + 0x2000), 0xffffffff);
    READ(VA) = n;
    USER_EQ("memory next to it", READ(VA), n);
  }
  return 0;
}
static void devices(void) {
  const u64 at = VA + 0x40000;
  set_page(VA, frame_a | PTE_URW);
  set_page(at, MMIO_DONE | PTE_URW);
  set_page(at + 0x1000, MMIO_EXIT | PTE_URW);
  set_page(at + 0x2000, 0xe0000000 | PTE_URW);
  serve_user(device, at, 0, 0);
}

void test(void) {
  user_init();
  write_cr4(read_cr4() | CR4_PGE);
  frame_a = frame(), frame_b = frame(), frame_c = frame();
  for (int pcid = 0; pcid < 2; ++pcid) {
    if (pcid) {
      write_cr4(read_cr4() | CR4_PCIDE);
      write_cr3(read_cr3() | 5);
    }
    all_flushes();
    for (enum Flush how = 0; how < FLUSHES; ++how) {
      fill_frames();
      serve_user(toggled, how, 0, 0);
      serve_user(cleaned, how, 0, 0);
    }
    fill_frames();
    serve_user(grown, 0, 0, 0);
  }
  on_demand();
  copy_on_write();
  aliases();
  split_and_join();
  user_tables();
  devices();
}
