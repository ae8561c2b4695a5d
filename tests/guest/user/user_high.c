/* What user code has in the upper half of the addresses: bases of FS and GS, which WRFSBASE takes from there too, and
 * a page of the kernel's making at the address of Linux' vsyscall page, or none.
 */
#include "service.h"

#define VSYSCALL 0xffffffffff600000
#define HIGH 0xffff800000001000
enum { CALL_NOTHING = CALL_OTHER, ROUNDS = 200, FETCH = 0x14, READ_ERROR = 4 };

static u64 kernel_call(u64 number, u64 a, u64 b) { return number == CALL_NOTHING ? a + b : ~0ull; }

// ---- bases -----------------------------------------------------------------------------------------------------------
USER static u64 bases(u64 unused) {
  for (u64 n = 0; n < ROUNDS; ++n) {
    const u64 fs = HIGH + n * 8, gs = ~n * 4096;
    asm volatile("wrfsbase %0; wrgsbase %1" ::"r"(fs), "r"(gs));
    USER_EQ("call", sys(CALL_NOTHING, n, 1), n + 1);
    u64 f, g;
    asm volatile("rdfsbase %0; rdgsbase %1" : "=r"(f), "=r"(g));
    USER_EQ("FS base", f, fs);
    USER_EQ("GS base", g, gs);
    asm volatile("wrfsbase %0; wrgsbase %0" ::"r"(n));
    USER_EQ("call", sys(CALL_NOTHING, n, 2), n + 2);
  }
  return unused;
}
USER static u64 read_fs(u64 base) {
  u64 v;
  asm volatile("wrfsbase %1; mov %%fs:8,%0" : "=r"(v) : "r"(base) : "memory");
  return v;
}

// ---- the page --------------------------------------------------------------------------------------------------------
static void faults_at_its_entry(void) {
  for (u64 entry = VSYSCALL; entry <= VSYSCALL + 0xc00; entry += 0x400) {
    struct User u = user_begin((u64(*)(u64))entry, 0);
    const u64 rsp = u.rsp;
    u.rbx = 0x1234, u.rcx = 0x5678, u.r11 = 0x9abc;
    run_user(&u);
    CHECK_EQ(u.vector, VEC_PF);
    CHECK_EQ(u.error & ~1ull, FETCH);
    CHECK_EQ(u.rip, entry);
    CHECK_EQ(u.cr2, entry);
    CHECK_EQ(u.rsp, rsp);
    CHECK_EQ(u.rbx, 0x1234);
    CHECK_EQ(u.rcx, 0x5678);
    CHECK_EQ(u.r11, 0x9abc);
  }
}
USER static u64 call_page(u64 rounds) {
  u64 sum = 0;
  for (u64 n = 0; n < rounds; ++n) {
    sum += ((u64(*)(u64))VSYSCALL)(n);
    sum += sys(CALL_NOTHING, 1, 0);
  }
  return sum;
}

void test(void) {
  user_init();
  serve_user(bases, 0, kernel_call, 0);
  const u64 base = read_cr3(), one = new_space(), high = frame(), code = frame();
  *space_pte(one, HIGH, 1) = high | PTE_URW;
  AT(u64, high + 8) = 0x77665544;
  write_cr3(one);
  for (u64 n = 0; n < 20; ++n) CHECK_EQ(serve_user(read_fs, HIGH, kernel_call, 0), 0x77665544);
  const struct User u = call_user(read_fs, HIGH + 0x1000);
  CHECK_EQ(u.vector, VEC_PF);
  CHECK_EQ(u.error, READ_ERROR);
  CHECK_EQ(u.cr2, HIGH + 0x1008);
  faults_at_its_entry();
  put_function(code, 5);
  *space_pte(one, VSYSCALL, 1) = code | PTE_UR;
  write_cr3(one);
  CHECK_EQ(serve_user(call_page, ROUNDS, kernel_call, 0), 6 * ROUNDS);
  *space_pte(one, VSYSCALL, 1) = code | PTE_P;  // the kernel's alone
  write_cr3(one);
  faults_at_its_entry();
  write_cr3(base);
}
