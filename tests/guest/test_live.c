/* Vector registers of a CPU that only counts keep what they hold while another runs ever new pages of code,
 * of which every CPU has to be told.
 * @vcpus 2
 * @seconds 60
 */
#include "guest.h"

enum { ROUNDS = 200, COUNT = 500 };
#define CODE(n) (0x1000000ull + (n) * 4096ull)  // memory that nobody uses
static u8 before[33][64] __attribute__((aligned(64))), after[33][64] __attribute__((aligned(64)));
static volatile u32 round;

static void run_new_pages(void) {
  for (u32 n = 0; n < ROUNDS; ++n) {
    while (round == n) pause();
    AT(u8, CODE(n)) = 0xc3;  // ret
    ((void (*)(void))CODE(n))();
  }
  for (;;) asm volatile("hlt");
}

#define LOAD_Z(n) "vmovdqu64 64*" #n "(%0), %%zmm" #n "\n"
#define STORE_Z(n) "vmovdqu64 %%zmm" #n ", 64*" #n "(%1)\n"
#define LOAD_Y(n) "vmovdqu 64*" #n "(%0), %%ymm" #n "\n"
#define STORE_Y(n) "vmovdqu %%ymm" #n ", 64*" #n "(%1)\n"
#define LOAD_X(n) "movdqu 64*" #n "(%0), %%xmm" #n "\n"
#define STORE_X(n) "movdqu %%xmm" #n ", 64*" #n "(%1)\n"
#define LOAD_K(n) "kmovw 64*32+8*" #n "(%0), %%k" #n "\n"
#define STORE_K(n) "kmovw %%k" #n ", 64*32+8*" #n "(%1)\n"
#define TO_15(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
#define TO_31(f) TO_15(f) f(16) f(17) f(18) f(19) f(20) f(21) f(22) f(23) f(24) f(25) f(26) f(27) f(28) \
  f(29) f(30) f(31)
#define K_1_TO_7(f) f(1) f(2) f(3) f(4) f(5) f(6) f(7)
#define COUNT_DOWN "mov %2, %%ecx\n1: dec %%ecx\njnz 1b\n"
#define HOLD(load, store)                                                                      \
  asm volatile(load COUNT_DOWN store ::"r"(before), "r"(after), "i"(COUNT) : "ecx", "memory", "cc")

void test(void) {
  u32 r[4], x[4];
  cpuid(1, 0, r);
  write_cr4(read_cr4() | CR4_OSFXSR);
  u64 xcr0 = 3;
  if (r[2] >> 26 & 1) {
    write_cr4(read_cr4() | CR4_OSXSAVE);
    cpuid(0xd, 0, x);
    xcr0 = x[0] & 0xe7;
    asm volatile("xsetbv" ::"a"((u32)xcr0), "d"(0), "c"(0));
  }
  const u32 wide = (xcr0 & 0xe6) == 0xe6 ? 64 : xcr0 & 4 ? 32 : 16, registers = wide == 64 ? 33 : 16;
  for (u32 n = 0; n < 33; ++n)
    for (u32 k = 0; k < 64; ++k) before[n][k] = (u8)(n * 64 + k + 1);
  start_ap(1, run_new_pages);
  for (u32 n = 0; n < ROUNDS; ++n) {
    round = n + 1;
    if (wide == 64)
      HOLD(TO_31(LOAD_Z) K_1_TO_7(LOAD_K), TO_31(STORE_Z) K_1_TO_7(STORE_K));
    else if (wide == 32)
      HOLD(TO_15(LOAD_Y), TO_15(STORE_Y));
    else
      HOLD(TO_15(LOAD_X), TO_15(STORE_X));
    for (u32 reg = 0; reg < registers; ++reg) {
      const u32 stride = reg == 32 ? 8 : 1, bytes = reg == 32 ? 2 : 1, from = reg == 32 ? 1 : 0;
      for (u32 k = from; k < (reg == 32 ? 8 : wide); ++k)
        for (u32 b = 0; b < bytes; ++b) CHECK_EQ(after[reg][k * stride + b], before[reg][k * stride + b]);
    }
  }
}
