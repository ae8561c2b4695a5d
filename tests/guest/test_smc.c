/* Self-modifying code: in the same page, in the block that runs, through an alias mapping, by REP
 * MOVS, by locked instructions, by I/O string input; code and accesses across a page border; pages
 * remapped under code (SDM vol. 3, 8.1.3: on one processor no serialisation is needed).
 */
#include "guest.h"

#define VA FREE_VA
static u8* code;
static int run(u64 at) {
  int v;
  asm volatile("call *%1" : "=a"(v) : "r"(at) : "memory");
  return v;
}
static void put_mov(u8* at, u32 value) {  // mov $value,%eax; ret
  AT(u8, at) = 0xb8;
  AT(u32, at + 1) = value;
  AT(u8, at + 5) = 0xc3;
}

static void rewritten(void) {
  for (u32 i = 0; i < 200; ++i) {
    put_mov(code, i);
    CHECK_EQ(run(VA), i);
    AT(u8, code + 1) ^= 0x80;  // by the alias
    CHECK_EQ(run(VA), i ^ 0x80);
    AT(u8, VA + 2) = 7;  // by its own address
    CHECK_EQ(run(VA), (i ^ 0x80) | 7 << 8);
    asm volatile("lock xorl $0xff0000,(%0)" ::"r"(VA + 1) : "memory", "cc");
    CHECK_EQ(run(VA), (i ^ 0x80) | 7 << 8 | 0xff0000);
  }
  static u8 text[6];
  put_mov(text, 0x4321);
  u8 *from = text, *to = code;
  u64 n = 6;
  asm volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(n)::"memory");
  CHECK_EQ(run(VA), 0x4321);
  outl(LATCH_DONE, 0x01020304);
  to = code + 1;
  asm volatile("insl" : "+D"(to) : "d"(LATCH_DONE) : "memory");
  CHECK_EQ(run(VA), 0x01020304);
}

// The store changes an instruction right behind it, in the same straight line.
static void same_block(void) {
  for (u32 i = 1; i < 50; ++i) {
    u32 v;
    asm volatile(
        "movl %1,1f+1(%%rip)\n"
        "1: mov $0,%%eax\n"
        "mov %%eax,%0" : "=r"(v) : "r"(i) : "rax", "memory");
    CHECK_EQ(v, i);
  }
}

static void across_pages(void) {
  for (u64 at = 0xffa; at <= 0x1000; ++at) {
    put_mov(code + at, (u32)at);
    CHECK_EQ(run(VA + at), at);
    AT(u8, code + at + 4) = 0x11;  // in the second page for most
    CHECK_EQ(run(VA + at), at | 0x11000000);
  }
  // the second page goes away: #PF there, then comes back as another page
  put_mov(code + 0xffe, 5);
  CHECK_EQ(run(VA + 0xffe), 5);
  volatile u64* e = pte_of(VA + 0x1000, 1);
  const u64 old = *e, other = free_page();
  *e = 0;
  invlpg(VA + 0x1000);
  const struct Trap t = try_call((void (*)(u64))(VA + 0xffe), 0);
  CHECK_EQ(t.vector, VEC_PF);
  CHECK_EQ(t.cr2, VA + 0x1000);
  CHECK_EQ(t.rip, VA + 0xffe);
  CHECK_EQ(t.error, PF_I);
  AT(u32, other) = 0xc3000000;
  *e = other | PTE_P;
  CHECK_EQ(run(VA + 0xffe), 5 & 0xff);
  *e = old;
  invlpg(VA + 0x1000);
}

static void remapped(void) {
  const u64 a = free_page(), b = free_page(), va = VA + 0x10000;
  put_mov((u8*)a, 1);
  put_mov((u8*)b, 2);
  for (int i = 0; i < 20; ++i) {
    map_page(va, i & 1 ? b : a, PTE_P, 1);
    CHECK_EQ(run(va), 1 + (i & 1));
  }
}

void test(void) {
  code = (u8*)free_page();
  const u64 second = free_page();
  CHECK_EQ(second, (u64)code + 4096);
  map_page(VA, (u64)code, PTE_P | PTE_W, 1);
  map_page(VA + 0x1000, second, PTE_P | PTE_W, 1);
  rewritten();
  same_block();
  across_pages();
  remapped();
}
