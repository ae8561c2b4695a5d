/* Port and memory-mapped I/O in all sizes, done inside run() and outside after an exit; string I/O;
 * the I/O privilege of CPL 3.
 */
#include "guest.h"

static void ports(u16 base) {
  outl(base, 0x11223344);
  CHECK_EQ(inb(base + 1), 0x33);
  CHECK_EQ(inw(base + 2), 0x1122);
  outw(base + 1, 0xabcd);
  outb(base + 3, 0xee);
  CHECK_EQ(inl(base), 0xeeabcd44);
  // IN AL/AX keep the rest of RAX, IN EAX clears bits 63-32 (SDM vol. 1, 3.4.1.1)
  u64 rax = ~0ull;
  asm volatile("inb %%dx,%%al" : "+a"(rax) : "d"(base));
  CHECK_EQ(rax, 0xffffffffffffff44);
  rax = ~0ull;
  asm volatile("inl %%dx,%%eax" : "+a"(rax) : "d"(base));
  CHECK_EQ(rax, 0xeeabcd44);
}

static void memory(u64 base) {
  AT(u64, base) = 0x1122334455667788;
  CHECK_EQ(AT(u8, base + 7), 0x11);
  CHECK_EQ(AT(u16, base + 2), 0x5566);
  CHECK_EQ(AT(u32, base + 4), 0x11223344);
  AT(u8, base + 1) = 0;
  CHECK_EQ(AT(u64, base), 0x1122334455660088);
  asm volatile("addl $5,(%0); xchgb %b1,4(%0)" ::"r"(base), "r"(9) : "memory", "cc");
  CHECK_EQ(AT(u64, base), 0x112233095566008d);
  CHECK_EQ(*(volatile signed char*)base, (u64)-0x73);
  static u64 copy[8];
  for (int i = 0; i < 8; ++i) AT(u64, base + 64 + 8 * i) = i * 0x0101010101010101;
  const void* from = (const void*)(base + 64);
  void* to = copy;
  u64 n = 64;
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
  CHECK_EQ(n, 0);
  for (int i = 0; i < 8; ++i) CHECK_EQ(copy[i], i * 0x0101010101010101);
}

static void strings(u16 base) {
  static const u8 out[4] = {1, 2, 3, 4};
  const u8* from = out;
  u64 n = 4;
  asm volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(base) : "memory");
  CHECK_EQ(inb(base), 4);
  CHECK_EQ(from - out, 4);
  u32 in[3] = {0, 0, 0};
  void* to = in;
  n = 2;
  asm volatile("rep insl" : "+D"(to), "+c"(n) : "d"(base + 4) : "memory");
  CHECK_EQ(in[0], in[1]);
  CHECK_EQ(in[2], 0);
  CHECK_EQ(n, 0);
}

USER static u64 user_in(u64 p) {
  u8 v;
  asm volatile("inb %w1,%0" : "=a"(v) : "d"(p));
  return v;
}

void test(void) {
  ports(LATCH_DONE);
  ports(LATCH_EXIT);
  memory(MMIO_DONE);
  memory(MMIO_EXIT);
  strings(LATCH_DONE);
  strings(LATCH_EXIT);
  const struct Trap t = try_user(user_in, LATCH_DONE);
  CHECK_EQ(t.vector, VEC_GP);
  CHECK_EQ(t.error, 0);
}
