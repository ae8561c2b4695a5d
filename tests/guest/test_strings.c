/* REP string instructions across pages with a fault in the middle: registers tell how far it came,
 * and it goes on where it was (SDM vol. 2, REP). Backwards, overlapping and 32-bit addresses too.
 */
#include "guest.h"

#define VA FREE_VA
static u64 faults;
static void on_pf(struct Frame* f) {
  ++faults;
  const u64 a = read_cr2();
  CHECK_EQ(f->rdi, a);             // the element that faulted was not counted
  CHECK_EQ(f->rcx, VA + 0x2800 - a);
  map_page(a & ~0xfffull, free_page(), PTE_P | PTE_W, 1);
}
static void on_pf_movs(struct Frame* f) {
  ++faults;
  const u64 a = read_cr2();
  CHECK(f->rdi <= a && f->rdi + 8 > a);
  map_page(a & ~0xfffull, free_page(), PTE_P | PTE_W, 1);
}

static void fill(void) {
  set_handler(VEC_PF, on_pf);
  u64 to = VA + 0x800, n = 0x2000;
  asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(0x5a) : "memory");
  CHECK_EQ(faults, 3);
  CHECK_EQ(to, VA + 0x2800);
  CHECK_EQ(n, 0);
  for (u64 a = VA + 0x800; a < VA + 0x2800; ++a) CHECK_EQ(AT(u8, a), 0x5a);
  CHECK_EQ(AT(u8, VA + 0x7ff), 0);
  CHECK_EQ(AT(u8, VA + 0x2800), 0);
}

static void move(void) {
  set_handler(VEC_PF, on_pf_movs);
  faults = 0;
  const u64 base = VA + 0x100000;
  static u64 source[1536];
  for (u64 i = 0; i < 1536; ++i) source[i] = i * 0x9e3779b97f4a7c15;
  u64 from = (u64)source, to = base + 3, n = 1536;  // elements across the borders
  asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n)::"memory");
  CHECK_EQ(faults, 4);
  for (u64 i = 0; i < 1536; ++i) CHECK_EQ(AT(u64, base + 3 + 8 * i), source[i]);
  // overlapping: each byte is read after the one before it was written
  AT(u8, base) = 0x77;
  from = base, to = base + 1, n = 100;
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
  CHECK_EQ(AT(u8, base + 100), 0x77);
  // backwards
  for (u64 i = 0; i < 16; ++i) AT(u8, base + 0xff8 + i) = (u8)i;
  from = base + 0x1007, to = base + 0x1107, n = 16;
  asm volatile("std; rep movsb; cld" : "+D"(to), "+S"(from), "+c"(n)::"memory", "cc");
  for (u64 i = 0; i < 16; ++i) CHECK_EQ(AT(u8, base + 0x10f8 + i), i);
  CHECK_EQ(to, base + 0x10f7);
}

static void compare(void) {
  static u8 a[64], b[64];
  b[40] = 1;
  u8 *x = a, *y = b, equal;
  u64 n = 64;
  asm volatile("repe cmpsb; sete %3" : "+S"(x), "+D"(y), "+c"(n), "=q"(equal)::"memory", "cc");
  CHECK_EQ(x - a, 41);
  CHECK_EQ(n, 64 - 41);
  CHECK_EQ(equal, 0);
  y = b;
  n = 64;
  asm volatile("repne scasb; sete %2" : "+D"(y), "+c"(n), "=q"(equal) : "a"(1) : "memory", "cc");
  CHECK_EQ(y - b, 41);
  CHECK_EQ(equal, 1);
  n = 0;  // nothing happens, flags stay
  asm volatile("xor %%eax,%%eax; repne scasb; sete %2" : "+D"(y), "+c"(n), "=q"(equal)::"rax", "memory", "cc");
  CHECK_EQ(y - b, 41);
  CHECK_EQ(equal, 1);
}

void test(void) {
  fill();
  move();
  compare();
}
