/* Instructions whose results are the guest's own: CPUID, RDTSC(P), RDPID, LSL, LAR, VERR, VERW, XGETBV, XSAVE under a
 * small XCR0, SGDT and its kin, PUSHF and POPF with IF, IOPL, AC, ID and NT, IN and OUT by IOPL and by the map,
 * selectors with bases, in user code that is also interrupted (SDM vol. 2).
 * @seconds 60
 */
#include "service.h"

#define MSR_AUX 0xc0000103
enum { LIMIT = 0x4567, SEL_LIMIT = SEL_FREE | 3, SEL_BASE = 0x58 | 3, SEL_CPU = 0x78 | 3, ROUNDS = 30 };
enum { CALL_CPUID = CALL_OTHER, CALL_TSC, CALL_XCR0, CALL_TABLES, CALL_IN, CALL_SET_AUX, CALL_NOTHING };

static USER_DATA u32 answer[4];  // of the kernel

static u64 kernel_call(u64 number, u64 a, u64 b) {
  switch (number) {
    case CALL_CPUID: cpuid((u32)a, (u32)b, answer); return 0;
    case CALL_TSC: return rdtsc();
    case CALL_SET_AUX: wrmsr(MSR_AUX, a); return 0;
    case CALL_NOTHING: return a;
    default: return ~0ull;
  }
}

// ---- CPUID, clocks ---------------------------------------------------------------------------------------------
USER static u64 cpuids(u64 unused) {
  for (u32 n = 0; n < 64; ++n) {
    const u32 leaf = n < 32 ? n : n < 42 ? 0x80000000 + n - 32 : n < 52 ? 0x40000000 + n - 42 : 7 + (n & 7);
    for (u32 sub = 0; sub < 3; ++sub) {
      u32 r[4];
      cpuid(leaf, sub, r);
      sys(CALL_CPUID, leaf, sub);
      // The local APIC's number is in leaves 1 and 0Bh; all the rest is of the machine.
      for (u32 k = 0; k < 4; ++k) USER_EQ("CPUID", r[k] + ((u64)leaf << 32), answer[k] + ((u64)leaf << 32));
    }
  }
  u64 rax = 0xaaaaaaaa00000000, rbx = ~0ull, rcx = ~0ull << 32, rdx = ~0ull;
  asm volatile("cpuid" : "+a"(rax), "+b"(rbx), "+c"(rcx), "+d"(rdx));
  USER_EQ("upper halves", (rax | rbx | rcx | rdx) >> 32, 0);
  return unused;
}
USER static u64 clocks(u64 unused) {
  u64 last = rdtsc();
  for (u32 n = 0; n < 500; ++n) {
    const u64 aux = 0xdead0000 + n;
    sys(CALL_SET_AUX, aux, 0);
    u32 a, d, c;
    asm volatile("rdtscp" : "=a"(a), "=d"(d), "=c"(c));
    const u64 now = (u64)d << 32 | a;
    USER_EQ("TSC grows", now > last, 1);
    USER_EQ("TSC_AUX by RDTSCP", c, aux);
    const u64 kernels = sys(CALL_TSC, 0, 0);
    USER_EQ("the kernel's TSC is later", kernels > now, 1);
    last = rdtsc();
    USER_EQ("TSC after the kernel's", last > kernels, 1);
  }
  return unused;
}

USER_SPECIAL static u64 processor(u64 unused) {
  for (u64 n = 0; n < ROUNDS; ++n) {
    u64 id;
    sys(CALL_SET_AUX, 0xbeef0000 + n, 0);
    asm volatile("rdpid %0" : "=r"(id));
    USER_EQ("TSC_AUX by RDPID", id, 0xbeef0000 + n);
  }
  return unused;
}

// ---- descriptors -------------------------------------------------------------------------------------------------
USER_SPECIAL static u64 limits(u64 wanted_limit) {
  for (u64 n = 0; n < ROUNDS; ++n) {
    u64 v = 1;
    u8 z;
    asm volatile("lsl %k2,%k0; setz %1" : "+r"(v), "=q"(z) : "r"((u64)SEL_LIMIT));
    USER_EQ("LSL", v, wanted_limit);
    USER_EQ("LSL", z, 1);
    v = 77;
    asm volatile("lsl %k2,%k0; setz %1" : "+r"(v), "=q"(z) : "r"((u64)SEL_CPU));  // Linux has it, the guest not
    USER_EQ("LSL of nothing", z, 0);
    USER_EQ("LSL of nothing", v, 77);
    asm volatile("lsl %k2,%k0; setz %1" : "+r"(v), "=q"(z) : "r"((u64)SEL_DATA));  // the kernel's
    USER_EQ("LSL of the kernel's", z, 0);
  }
  return 0;
}
USER static u64 descriptors(u64 unused) {
  for (u64 n = 0; n < ROUNDS; ++n) {
    u64 v = 1;
    u8 z;
    asm volatile("lar %k2,%k0; setz %1" : "+r"(v), "=q"(z) : "r"((u64)SEL_LIMIT));
    USER_EQ("LAR", v, 0x40f300);
    asm volatile("verr %w1; setz %0" : "=q"(z) : "r"((u64)SEL_LIMIT) : "cc");
    USER_EQ("VERR", z, 1);
    asm volatile("verw %w1; setz %0" : "=q"(z) : "r"((u64)SEL_LIMIT) : "cc");
    USER_EQ("VERW", z, 1);
    asm volatile("lar %k2,%k0; setz %1" : "+r"(v), "=q"(z) : "r"((u64)SEL_CPU));
    USER_EQ("LAR of nothing", z, 0);
    asm volatile("verr %w1; setz %0" : "=q"(z) : "r"((u64)SEL_CPU) : "cc");
    USER_EQ("VERR of nothing", z, 0);
    asm volatile("lar %k2,%k0; setz %1" : "+r"(v), "=q"(z) : "r"((u64)SEL_UCODE64));
    USER_EQ("LAR of code", v, 0xaffb00);
  }
  return unused;
}
USER static u64 bases(u64 wanted) {
  for (u64 n = 0; n < ROUNDS; ++n) {
    u64 base;
    u32 selector;
    asm volatile("mov %1,%%fs; rdfsbase %0" : "=r"(base) : "r"(SEL_BASE));
    USER_EQ("FS with a base", base, wanted);
    asm volatile("mov %1,%%gs; rdgsbase %0" : "=r"(base) : "r"(SEL_BASE));
    USER_EQ("GS with a base", base, wanted);
    asm volatile("mov %1,%%ds; mov %%ds,%0" : "=r"(selector) : "r"(SEL_BASE));
    USER_EQ("DS", selector, SEL_BASE);
    sys(CALL_NOTHING, 0, 0);
    asm volatile("mov %%ds,%0" : "=r"(selector));
    USER_EQ("DS after a call", selector, SEL_BASE);
    asm volatile("mov %%fs,%0" : "=r"(selector));
    USER_EQ("FS after a call", selector, SEL_BASE);
    asm volatile("rdfsbase %0" : "=r"(base));
    USER_EQ("FS base after a call", base, wanted);
    asm volatile("mov %0,%%ds; mov %0,%%fs; mov %0,%%gs" ::"r"(0));
    asm volatile("rdfsbase %0" : "=r"(base));
    USER_EQ("base of null", base, 0);
  }
  return 0;
}
USER static u64 tables(u64 unused) {
  for (u64 n = 0; n < ROUNDS; ++n) {
    static USER_DATA struct { u16 limit; u64 base; } __attribute__((packed)) t[2];
    u64 selectors[2] = {0, 0}, cr0 = 0;
    asm volatile("sgdt %0; sidt %1" : "=m"(t[0]), "=m"(t[1]));
    asm volatile("sldt %0; str %1; smsw %2" : "=r"(selectors[0]), "=r"(selectors[1]), "=r"(cr0));
    sys(CALL_TABLES, (u64)t, (u64)selectors);
    sys(CALL_TABLES + 1000, cr0, 0);
  }
  return unused;
}
static u64 tables_call(u64 number, u64 a, u64 b) {
  if (number == CALL_TABLES + 1000) {
    CHECK_EQ(a, read_cr0());
    return 0;
  }
  struct { u16 limit; u64 base; } __attribute__((packed)) gdtr, idtr;
  asm volatile("sgdt %0; sidt %1" : "=m"(gdtr), "=m"(idtr));
  CHECK_EQ(AT(u16, a), gdtr.limit);
  CHECK_EQ(AT(u64, a + 2), gdtr.base);
  CHECK_EQ(AT(u16, a + 10), idtr.limit);
  CHECK_EQ(AT(u64, a + 12), idtr.base);
  CHECK_EQ(AT(u64, b), 0);
  CHECK_EQ(AT(u64, b + 8), SEL_TSS);
  return 0;
}

// ---- XCR0 ------------------------------------------------------------------------------------------------------------
static USER_DATA u8 area[4096] __attribute__((aligned(64)));
USER static void clear(u64 value) {
  for (u64 k = 0; k < sizeof area; k += 8) *(volatile u64*)&area[k] = value;
}
USER_SPECIAL static u64 xgetbv(u64 wanted) {
  for (u64 n = 0; n < ROUNDS; ++n) {
    u32 a, d;
    asm volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    USER_EQ("XGETBV", (u64)d << 32 | a, wanted);
    clear(0x5a5a5a5a5a5a5a5a);
    for (u64 k = 512; k < 576; ++k) *(volatile u8*)&area[k] = 0;
    asm volatile("fninit; fld1; pcmpeqd %%xmm1,%%xmm1; xsave64 %0" : "+m"(area) : "a"(~0), "d"(~0));
    USER_EQ("XSTATE_BV", *(u64*)(area + 512) & ~wanted, 0);
    USER_EQ("XSTATE_BV", *(u64*)(area + 512) & 3, 3);
    for (u64 k = 832; k < sizeof area && wanted == 3; k += 64) USER_EQ("behind the area", area[k], 0x5a);
    asm volatile("fninit; xrstor64 %0; fstp %%st(0)" ::"m"(area), "a"(~0), "d"(~0));
  }
  return 0;
}
USER static u64 avx(u64 unused) { asm volatile("vpxor %ymm0,%ymm0,%ymm0"); return unused; }
USER static u64 avx512(u64 unused) { asm volatile("vpxorq %zmm0,%zmm0,%zmm0"); return unused; }
USER_SPECIAL static u64 xrstor(u64 bit) {
  clear(0);
  *(u64*)(area + 512) = bit;
  asm volatile("xrstor64 %0" ::"m"(area), "a"(~0), "d"(~0));
  return 0;
}
static void xcr0(u64 value, int has_avx, int has_avx512) {
  asm volatile("xsetbv" ::"a"((u32)value), "d"(0), "c"(0));
  serve_user(xgetbv, value, 0, 0);
  CHECK_EQ(call_user(avx, 0).vector, has_avx ? VEC_USER_END : VEC_UD);
  CHECK_EQ(call_user(avx512, 0).vector, has_avx512 ? VEC_USER_END : VEC_UD);
  CHECK_EQ(call_user(xrstor, 4).vector, has_avx ? VEC_USER_END : VEC_GP);
  CHECK_EQ(call_user(xrstor, 1 << 9).vector, VEC_GP);
}
static void extended_state(void) {
  u32 r[4];
  if (!(read_cr4() & CR4_OSXSAVE)) return;
  write_cr4(read_cr4() & ~CR4_OSXSAVE);
  CHECK_EQ(call_user(xgetbv, 0).vector, VEC_UD);
  write_cr4(read_cr4() | CR4_OSXSAVE);
  cpuid(0xd, 0, r);
  for (int round = 0; round < 3; ++round) {
    xcr0(3, 0, 0);
    if (r[0] & 4) xcr0(7, 1, 0);
    if ((r[0] & 0xe0) == 0xe0) xcr0(0xe7, 1, 1);
  }
}

// ---- flags -----------------------------------------------------------------------------------------------------------
USER static u64 flags(u64 system) {  // IF and IOPL that user code has
  enum { CHANGEABLE = 0xcd5 | 1 << 14 | 1 << 18 | 1 << 21 };
  u64 seed = 5;
  for (u64 n = 0; n < ROUNDS * 4; ++n) {
    const u64 wanted = next_random(&seed) & CHANGEABLE & ~0x400;
    u64 now;
    asm volatile("push %1; popfq; pushfq; pop %0; push $2; popfq" : "=r"(now) : "r"(wanted | 0x3002) : "cc", "memory");
    USER_EQ("flags", now, wanted | system | 2);
    asm volatile("push %w1; popfw; pushfq; pop %0; push $2; popfq" : "=r"(now) : "r"(wanted & 0xffff) : "cc", "memory");
    USER_EQ("flags of 16 bits", now & 0xffff, (wanted | system | 2) & 0xffff);
    u8 ah;
    asm volatile("push %1; popfq; lahf; mov %%ah,%0" : "=Q"(ah) : "r"(wanted | 2) : "rax", "cc", "memory");
    USER_EQ("LAHF", ah, (wanted & 0xd5) | 2);
    asm volatile("push $2; popfq" ::: "cc", "memory");
  }
  return 0;
}
// With IOPL 3 user code has IF, and ports.
USER static u64 privileged(u64 unused) {
  for (u64 n = 0; n < ROUNDS; ++n) {
    u64 now;
    asm volatile("cli; pushfq; pop %0" : "=r"(now)::"memory");
    USER_EQ("CLI", now & 0x3200, 0x3000);
    asm volatile("push $0x3202; popfq; pushfq; pop %0" : "=r"(now)::"memory", "cc");
    USER_EQ("IF by POPF", now & 0x3200, 0x3200);
    asm volatile("push $2; popfq; pushfq; pop %0" : "=r"(now)::"memory", "cc");
    USER_EQ("IF off by POPF", now & 0x3200, 0x3000);
    asm volatile("sti; nop; pushfq; pop %0" : "=r"(now)::"memory");
    USER_EQ("STI", now & 0x3200, 0x3200);
    outl(LATCH_DONE, (u32)n * 3);
    USER_EQ("IN and OUT", inl(LATCH_DONE), n * 3);
  }
  return unused;
}
static void with_flags(u64 (*fn)(u64), u64 arg, u64 set, u64 clear) {
  struct User u = user_begin(fn, arg);
  u.rflags = (u.rflags | set) & ~clear;
  serve(&u, kernel_call, 0);
}

void test(void) {
  user_init();
  gdt[0][SEL_LIMIT / 8] = 0x0040f30000000000 | LIMIT;
  gdt[0][SEL_BASE / 8] = 0x12cff3345678ffff;
  serve_user(cpuids, 0, kernel_call, 0);
  serve_user(clocks, 0, kernel_call, 0);
  serve_user(processor, 0, kernel_call, 0);
  for (u64 n = 0; n < 5; ++n) {
    gdt[0][SEL_LIMIT / 8] = 0x0040f30000000000 | (LIMIT + n);
    serve_user(limits, LIMIT + n, 0, 0);
    serve_user(descriptors, 0, 0, 0);
  }
  serve_user(bases, 0x12345678, kernel_call, 0);
  serve_user(tables, 0, tables_call, 0);
  for (int round = 0; round < 3; ++round) {
    with_flags(flags, 0x200, 0, 0);
    with_flags(flags, 0, 0, 0x200);  // as few kernels do: user code that cannot be interrupted
    with_flags(flags, 0x1200, 0x1000, 0);
  }
  with_flags(privileged, 0, 0x3000, 0);
  extended_state();
}
