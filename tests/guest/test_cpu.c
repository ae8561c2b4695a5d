/* CPUID is consistent, unknown MSRs fault, the TSC only grows (SDM vol. 2, CPUID; vol. 3, 17.17).
 */
#include "guest.h"

static void read_msr(u64 n) { (void)rdmsr((u32)n); }
static void write_efer(u64 v) { wrmsr(MSR_EFER, v); }
static void tsc_user_off(void) { write_cr4(read_cr4() | CR4_TSD); }
USER static u64 user_rdtsc(u64 x) { return x + rdtsc(); }
USER static u64 user_cpuid(u64 x) {
  u32 r[4];
  cpuid((u32)x, 0, r);
  return r[1];
}

static void leaves(void) {
  u32 r[4];
  cpuid(0, 0, r);
  CHECK(r[0] >= 0xd);
  CHECK_EQ(r[1], 0x756e6547);  // Genu
  CHECK_EQ(r[3], 0x49656e69);  // ineI
  CHECK_EQ(r[2], 0x6c65746e);  // ntel
  CHECK_EQ(try_user(user_cpuid, 0).rax, r[1]);
  cpuid(1, 0, r);
  CHECK_EQ(r[3] >> 4 & 1, 1);  // TSC
  CHECK_EQ(r[3] >> 6 & 1, 1);  // PAE
  CHECK_EQ(r[2] >> 31, 1);     // under a hypervisor
  CHECK_EQ(r[2] >> 27 & 1, 0);
  write_cr4(read_cr4() | CR4_OSXSAVE);
  cpuid(1, 0, r);
  CHECK_EQ(r[2] >> 27 & 1, 1);  // OSXSAVE follows CR4
  write_cr4(read_cr4() & ~CR4_OSXSAVE);
  cpuid(7, 0, r);
  CHECK_EQ(r[1] & (1 << 4 | 1 << 11), 0);  // HLE, RTM: hidden
  CHECK_EQ(r[2] & (1 << 3 | 1 << 5 | 1 << 7), 0);  // PKU, WAITPKG, CET: hidden
  cpuid(0x80000000, 0, r);
  CHECK(r[0] >= 0x80000008);
  cpuid(0x80000001, 0, r);
  CHECK_EQ(r[3] >> 29 & 1, 1);  // long mode
  CHECK_EQ(r[3] >> 11 & 1, 1);  // SYSCALL
  cpuid(0x40000000, 0, r);
  CHECK(r[0] >= 0x40000000);
}

static void msrs(void) {
  CHECK_EQ(try_call(read_msr, 0x12345).vector, VEC_GP);
  CHECK_EQ(try_call(write_efer, rdmsr(MSR_EFER) | 1 << 20).vector, VEC_GP);
  CHECK_EQ(try_call(write_efer, rdmsr(MSR_EFER) & ~0x100ull).vector, VEC_GP);  // LME with paging
  CHECK_EQ(rdmsr(MSR_EFER) & 0x500, 0x500);
  wrmsr(MSR_TSC_AUX, 0x77);
  u32 aux;
  asm volatile("rdtscp" : "=c"(aux)::"rax", "rdx");
  CHECK_EQ(aux, 0x77);
  wrmsr(MSR_STAR, 0x1122334455667788);
  CHECK_EQ(rdmsr(MSR_STAR), 0x1122334455667788);
}

static void tsc(void) {
  u64 last = rdtsc();
  for (int i = 0; i < 10000; ++i) {
    const u64 now = rdtsc();
    CHECK(now > last);
    last = now;
  }
  const u64 adjust = rdmsr(MSR_TSC_ADJUST);
  wrmsr(MSR_TSC_ADJUST, adjust + (1ull << 40));
  CHECK(rdtsc() - last >= 1ull << 40);
  wrmsr(MSR_TSC, 1000);
  CHECK(rdtsc() < 1ull << 40);
  CHECK_EQ(try_user(user_rdtsc, 0).vector, VEC_USER_END);
  tsc_user_off();
  CHECK_EQ(try_user(user_rdtsc, 0).vector, VEC_GP);
}

void test(void) {
  leaves();
  msrs();
  tsc();
}
