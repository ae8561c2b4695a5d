/* x87, SSE and their state: #MF and FNCLEX, #XM, #NM by TS and EM, FXSAVE, XSAVE and XRSTOR round
 * trip, XSETBV rules (SDM vol. 1, 8.7, 11.5, 13).
 */
#include "guest.h"

static u8 area[4096] __attribute__((aligned(64)));
static void x87_divide(u64 unused) {
  (void)unused;
  asm volatile("fninit; movw $0x33b,%0; fldcw %0; fld1; fldz; fdivrp; fwait" ::"m"(*(u16*)area));
}
static void fwait(u64 unused) { (void)unused; asm volatile("fwait"); }
static void sse_divide(u64 unused) {
  (void)unused;
  const u32 unmasked = 0x1f80 & ~0x200;
  asm volatile("ldmxcsr %0; pcmpeqd %%xmm0,%%xmm0; psrld $31,%%xmm0; cvtdq2ps %%xmm0,%%xmm0; xorps %%xmm1,%%xmm1; divps %%xmm1,%%xmm0" ::"m"(unmasked));
}
static void sse_move(u64 unused) { (void)unused; asm volatile("movaps %xmm0,%xmm1"); }
static void x87_move(u64 unused) { (void)unused; asm volatile("fld1"); }
static void bad_mxcsr(u64 v) { asm volatile("ldmxcsr %0" ::"m"(v)); }
static void movaps_at(u64 a) { asm volatile("movaps (%0),%%xmm0" ::"r"(a)); }
static void xsetbv(u64 v) {
  asm volatile("xsetbv" ::"a"((u32)v), "d"((u32)(v >> 32)), "c"(0));
}
static u64 xgetbv(void) {
  u32 a, d;
  asm volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  return (u64)d << 32 | a;
}
static void xrstor_at(u64 a) { asm volatile("xrstor64 (%0)" ::"r"(a), "a"(~0), "d"(~0)); }
USER static u64 user_xsetbv(u64 v) { asm volatile("xsetbv" ::"a"((u32)v), "d"(0), "c"(0)); return 0; }

static void exceptions(void) {
  struct Trap t = try_call(x87_divide, 0);
  CHECK_EQ(t.vector, VEC_MF);
  CHECK_EQ(try_call(fwait, 0).vector, VEC_MF);  // still pending
  asm volatile("fnclex");
  CHECK_EQ(try_call(fwait, 0).vector, NO_TRAP);
  asm volatile("fninit");
  t = try_call(sse_divide, 0);
  CHECK_EQ(t.vector, VEC_XM);
  u32 mxcsr;
  asm volatile("stmxcsr %0" : "=m"(mxcsr));
  CHECK_EQ(mxcsr & 0x3f, 4);  // ZE
  CHECK_EQ(AT(u8, t.rip + 1), 0x5e);
  write_cr4(read_cr4() & ~CR4_OSXMMEXCPT);
  CHECK_EQ(try_call(sse_divide, 0).vector, VEC_UD);
  write_cr4(read_cr4() | CR4_OSXMMEXCPT);
  mxcsr = 0x1f80;
  asm volatile("ldmxcsr %0" ::"m"(mxcsr));
  CHECK_EQ(try_call(bad_mxcsr, 0x10000).vector, VEC_GP);
  CHECK_EQ(try_call(movaps_at, (u64)area + 4).vector, VEC_GP);
}

static void availability(void) {
  write_cr0(read_cr0() | CR0_TS);
  CHECK_EQ(try_call(sse_move, 0).vector, VEC_NM);
  CHECK_EQ(try_call(x87_move, 0).vector, VEC_NM);
  CHECK_EQ(try_call(fwait, 0).vector, VEC_NM);
  asm volatile("clts");
  CHECK_EQ(try_call(sse_move, 0).vector, NO_TRAP);
  write_cr0(read_cr0() | CR0_EM);
  CHECK_EQ(try_call(sse_move, 0).vector, VEC_UD);
  CHECK_EQ(try_call(x87_move, 0).vector, VEC_NM);
  write_cr0(read_cr0() & ~CR0_EM);
  write_cr4(read_cr4() & ~CR4_OSFXSR);
  CHECK_EQ(try_call(sse_move, 0).vector, VEC_UD);
  write_cr4(read_cr4() | CR4_OSFXSR);
}

static void fxsave(void) {
  u64 x = 0x1122334455667788, y = 0;
  asm volatile("fninit; fld1; movq %1,%%xmm9; fxsave64 %0; pxor %%xmm9,%%xmm9; fninit"
               : "=m"(area) : "r"(x));
  CHECK_EQ(AT(u16, area), 0x37f);
  CHECK_EQ(AT(u8, area + 4), 0x80);  // one register in use
  CHECK_EQ(AT(u64, area + 32), 1ull << 63);
  CHECK_EQ(AT(u16, area + 40), 0x3fff);
  CHECK_EQ(AT(u64, area + 160 + 16 * 9), x);
  asm volatile("fxrstor64 %1; movq %%xmm9,%0" : "=r"(y) : "m"(area));
  CHECK_EQ(y, x);
  double d = 0;
  asm volatile("fstpl %0" : "=m"(d));
  CHECK_EQ(*(u64*)&d, 0x3ff0000000000000);
}

static void xsave(void) {
  CHECK_EQ(try_call(xsetbv, 1).vector, VEC_UD);  // CR4.OSXSAVE = 0
  write_cr4(read_cr4() | CR4_OSXSAVE);
  CHECK_EQ(xgetbv(), 1);
  CHECK_EQ(try_call(xsetbv, 0).vector, VEC_GP);
  CHECK_EQ(try_call(xsetbv, 5).vector, VEC_GP);  // AVX without SSE
  CHECK_EQ(try_call(xsetbv, 1ull << 62).vector, VEC_GP);
  CHECK_EQ(try_user(user_xsetbv, 3).vector, VEC_GP);
  u32 r[4];
  cpuid(0xd, 0, r);
  xsetbv(r[0]);
  CHECK_EQ(xgetbv(), r[0]);
  cpuid(0xd, 0, r);
  CHECK(r[1] <= sizeof area);
  const u64 x = 0x99aabbccddeeff00;
  u64 y = 0;
  for (unsigned i = 0; i < sizeof area; ++i) area[i] = 0;
  asm volatile("movq %1,%%xmm3; xsave64 %0; pxor %%xmm3,%%xmm3" : "+m"(area) : "r"(x), "a"(~0), "d"(~0));
  CHECK_EQ(AT(u64, area + 512) & 2, 2);
  asm volatile("xrstor64 %1; movq %%xmm3,%0" : "=r"(y) : "m"(area), "a"(~0), "d"(~0));
  CHECK_EQ(y, x);
  AT(u64, area + 512) &= ~2ull;  // not in the image: initial
  asm volatile("xrstor64 %1; movq %%xmm3,%0" : "=r"(y) : "m"(area), "a"(~0), "d"(~0));
  CHECK_EQ(y, 0);
  AT(u64, area + 512) |= 1ull << 40;
  CHECK_EQ(try_call(xrstor_at, (u64)area).vector, VEC_GP);
  AT(u64, area + 512) = 3;
  CHECK_EQ(try_call(xrstor_at, (u64)area + 8).vector, VEC_GP);
  if (r[0] & 4) {
    asm volatile("movq %0,%%xmm5; vpbroadcastq %%xmm5,%%ymm5; vextracti128 $1,%%ymm5,%%xmm6"
                 ::"r"(x));
    asm volatile("movq %%xmm6,%0" : "=r"(y));
    CHECK_EQ(y, x);
  }
}

void test(void) {
  exceptions();
  availability();
  fxsave();
  xsave();
}
