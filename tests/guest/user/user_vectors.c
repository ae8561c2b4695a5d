/* The x87 and vector registers of user code whose kernel leaves them alone, reads some, changes some, or saves,
 * clobbers and restores all, in system calls and page faults; with address spaces that have one state in common
 * (SDM vol. 1, 10.5, 13.7, 13.8).
 * @seconds 60
 */
#include "service.h"

struct Image {  // of FXSAVE64
  u16 fcw, fsw;
  u8 ftw, reserved;
  u16 fop;
  u64 fip, fdp;
  u32 mxcsr, mask;
  u8 st[8][16];
  u64 xmm[16][2];
  u8 rest[96];
} __attribute__((aligned(16)));
static USER_DATA struct Image wanted, found;

enum { NOTHING = CALL_OTHER, READ, DOUBLE, CONTROL, XSAVED, FXSAVED, SSE_RESET, X87_RESET, OTHER_SPACE, CALLS_END };
enum { SPACES = 3, TURNS = 700, PAGE = FREE_VA };
#define MASKED 0x1f80u

// ---- user code -------------------------------------------------------------------------------------------------
USER static void load(void) { asm volatile("fxrstor64 %0" ::"m"(wanted)); }
USER static void begin(u64* seed) {
  for (u64* p = (u64*)&wanted; p < (u64*)(&wanted + 1); ++p) *p = next_random(seed);
  wanted.fcw = 0x37f, wanted.fsw = 0, wanted.ftw = 0xff, wanted.mxcsr = MASKED;
  for (u64 n = 0; n < 8; ++n) wanted.st[n][7] |= 0x80, *(u16*)&wanted.st[n][8] = (u16)(0x3fff + n);
  load();
}
USER static void compare(u64 call) {
  asm volatile("fxsave64 %0" : "=m"(found));
  USER_EQ("MXCSR", found.mxcsr | call << 32, wanted.mxcsr | call << 32);
  USER_EQ("FCW", found.fcw, wanted.fcw);
  USER_EQ("FSW", found.fsw, wanted.fsw);
  USER_EQ("tags", found.ftw, wanted.ftw);
  for (u64 n = 0; n < 8; ++n) {
    USER_EQ("x87", *(u64*)found.st[n], *(u64*)wanted.st[n]);
    USER_EQ("x87 exponent", *(u16*)&found.st[n][8], *(u16*)&wanted.st[n][8]);
  }
  for (u64 n = 0; n < 16; ++n)
    for (u64 half = 0; half < 2; ++half)
      USER_EQ("vector", found.xmm[n][half] ^ n << 56 ^ call << 48, wanted.xmm[n][half] ^ n << 56 ^ call << 48);
}
// What user code itself does between two stops.
USER static void change(u64 random) {
  if (random & 1) {
    asm volatile("paddq %xmm1,%xmm1");
    for (u64 half = 0; half < 2; ++half) wanted.xmm[1][half] *= 2;
  }
  if (random & 2) {
    asm volatile("fchs");
    wanted.st[0][9] ^= 0x80;
  }
}
USER static void stop_by_call(u64 call, u64 random) {
  const u32 mxcsr = MASKED | (random & 0xe07f);
  const u16 fcw = (u16)(0x37f | (random >> 16 & 0xc00));
  const u64 a = call == CONTROL ? mxcsr : random % SPACES, got = sys(call, a, fcw);
  switch (call) {
    case READ: USER_EQ("XMM7 in the kernel", got, wanted.xmm[7][0]); break;
    case DOUBLE:
      for (u64 half = 0; half < 2; ++half) wanted.xmm[5][half] *= 2, wanted.xmm[12][half] *= 2;
      break;
    case CONTROL: wanted.mxcsr = mxcsr, wanted.fcw = fcw; break;
    case SSE_RESET:
      for (u64 n = 0; n < 16; ++n) wanted.xmm[n][0] = wanted.xmm[n][1] = 0;
      wanted.mxcsr = MASKED;
      break;
    case X87_RESET:
      wanted.fcw = 0x37f, wanted.ftw = 0;
      compare(call);
      wanted.ftw = 0xff;
      load();
      break;
  }
}
USER static u64 work(u64 number) {
  u64 seed = 99 + number;
  begin(&seed);
  for (u64 n = 0; n < TURNS; ++n) {
    const u64 random = next_random(&seed) >> 5, call = NOTHING + (random >> 40) % (CALLS_END - NOTHING + 1);
    change(random);
    if (call == CALLS_END) {  // a page fault of an instruction that uses them
      sys(CALL_SET, PAGE, 0);
      asm volatile("movdqu (%0),%%xmm2; paddq %%xmm2,%%xmm2" ::"r"((u64)PAGE));
      for (u64 half = 0; half < 2; ++half) wanted.xmm[2][half] = 2 * (77 + half);
    } else {
      stop_by_call(call, random);
    }
    compare(call);
    if (random >> 30 & 1) begin(&seed);
  }
  return number;
}

// ---- the kernel ------------------------------------------------------------------------------------------------
static u64 space[SPACES], page;
static u8 area[4096] __attribute__((aligned(64))), none[4096] __attribute__((aligned(64)));

static void clobber(void) {
  const u32 mxcsr = 0x1fbf;
  asm volatile("fninit; fldz; fldpi; ldmxcsr %0" ::"m"(mxcsr));
  asm volatile("pcmpeqd %xmm0,%xmm0; pcmpeqd %xmm1,%xmm1; pcmpeqd %xmm2,%xmm2; pcmpeqd %xmm5,%xmm5\n"
               "pcmpeqd %xmm7,%xmm7; pcmpeqd %xmm12,%xmm12; pcmpeqd %xmm15,%xmm15");
}
static void xsave_and_restore(void) {
  asm volatile("xsave64 (%0)" ::"r"(area), "a"(~0), "d"(~0) : "memory");
  clobber();
  asm volatile("xrstor64 (%0)" ::"r"(area), "a"(~0), "d"(~0) : "memory");
}
static void control(u32 mxcsr, u16 fcw) { asm volatile("ldmxcsr %0; fldcw %1" ::"m"(mxcsr), "m"(fcw)); }
static u64 kernel_call(u64 number, u64 a, u64 b) {
  u64 value = 0;
  switch (number) {
    case READ: asm volatile("movq %%xmm7,%0" : "=r"(value)); break;
    case DOUBLE: asm volatile("paddq %xmm5,%xmm5; paddq %xmm12,%xmm12"); break;
    case CONTROL: control((u32)a, (u16)b); break;
    case XSAVED: xsave_and_restore(); break;
    case FXSAVED:
      asm volatile("fxsave64 (%0)" ::"r"(area) : "memory");
      clobber();
      asm volatile("fxrstor64 (%0)" ::"r"(area) : "memory");
      break;
    case SSE_RESET:
      AT(u32, none + 24) = MASKED;
      asm volatile("xrstor64 (%0)" ::"r"(none), "a"(2), "d"(0) : "memory");
      break;
    case X87_RESET: asm volatile("fninit"); break;
    case OTHER_SPACE: write_cr3(space[a]); break;
  }
  return value;
}
static int fault(struct User* u) {
  static u64 faults;
  CHECK_EQ(u->cr2, PAGE);
  if (++faults % 2) xsave_and_restore();
  set_page(PAGE, page | PTE_URW);
  return 1;
}

void test(void) {
  user_init();
  page = frame();
  AT(u64, page) = 77, AT(u64, page + 8) = 78;
  for (u64 n = 0; n < SPACES; ++n) space[n] = new_space();
  for (u64 round = 0; round < 2; ++round) {
    write_cr3(space[round]);
    CHECK_EQ(serve_user(work, round, kernel_call, fault), round);
  }
}
