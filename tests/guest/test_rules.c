/* Small rules: targets of branches that are not canonical, LMSW and SMSW, RDPMC, what CPL 3 may not
 * do, LOCK where it does not belong, opcodes that do not exist, flags that POPF changes by privilege,
 * the I/O permission map, CLFLUSH and its kin (SDM vol. 2; vol. 3, 2.8, 5.9, 17.5).
 */
#include "guest.h"

#define BAD 0x800000000000ull

// ---- branches: #GP(0) on the branch itself, nothing changed --------------------------------------------
static void jump_reg(u64 a) { asm volatile("jmp *%0" ::"r"(a)); }
static void jump_mem(u64 a) { asm volatile("jmp *%0" ::"m"(a)); }
static void call_reg(u64 a) { asm volatile("call *%0" ::"r"(a)); }
static void ret_to(u64 a) { asm volatile("push %0; ret" ::"r"(a)); }
static void iret_to(u64 a) {
  asm volatile("mov %%rsp,%%rcx; push %1; push %%rcx; pushfq; push %2; push %0; iretq"
               ::"r"(a), "i"(SEL_DATA), "i"(SEL_CODE64) : "rcx", "memory");
}
static void branches(void) {
  void (*const forms[])(u64) = {jump_reg, jump_mem, call_reg, ret_to, iret_to};
  const u64 targets[] = {BAD, ~BAD, 1ull << 63};
  for (unsigned f = 0; f < sizeof forms / sizeof forms[0]; ++f)
    for (unsigned n = 0; n < 3; ++n) {
      const struct Trap t = try_call(forms[f], targets[n]);
      CHECK_EQ(t.vector, VEC_GP);
      CHECK_EQ(t.error, 0);
      CHECK(t.rip >= (u64)forms[f] && t.rip < (u64)forms[f] + 64);
    }
}

// ---- CR0 by its low word ---------------------------------------------------------------------------------
static void machine_status(void) {
  const u64 cr0 = read_cr0();
  u64 whole = ~0ull, half = ~0ull, word = ~0ull;
  asm volatile("smsw %q0; smsw %k1; smsw %w2" : "+r"(whole), "+r"(half), "+r"(word));
  CHECK_EQ(whole, cr0);
  CHECK_EQ(half, cr0 & 0xffffffff);
  CHECK_EQ(word, (~0ull << 16) | (cr0 & 0xffff));
  u32 memory = ~0u;
  asm volatile("smsw %0" : "+m"(memory));
  CHECK_EQ(memory, 0xffff0000 | (cr0 & 0xffff));
  asm volatile("lmsw %w0" ::"r"(0xe));  // MP, EM, TS; PE stays
  CHECK_EQ(read_cr0(), (cr0 & ~0xeull) | 0xf);
  asm volatile("clts");
  CHECK_EQ(read_cr0(), (cr0 & ~0xeull) | 7);
  asm volatile("lmsw %w0" ::"r"(0xfff0));  // no other bit
  CHECK_EQ(read_cr0() & ~0xeull, cr0 & ~0xeull);
  write_cr0(cr0);
}

// ---- privilege ---------------------------------------------------------------------------------------------
#define PRIVILEGED(name, code) \
  USER static u64 name(u64 x) { asm volatile(code ::"a"(x), "c"(x), "d"(x) : "memory"); return x; }
PRIVILEGED(u_wbinvd, "wbinvd") PRIVILEGED(u_invd, "invd") PRIVILEGED(u_clts, "clts")
PRIVILEGED(u_lmsw, "lmsw %%ax") PRIVILEGED(u_lgdt, "lgdt (%%rax)") PRIVILEGED(u_lidt, "lidt (%%rax)")
PRIVILEGED(u_lldt, "lldt %%ax") PRIVILEGED(u_ltr, "ltr %%ax") PRIVILEGED(u_invlpg, "invlpg (%%rax)")
PRIVILEGED(u_rdmsr, "rdmsr") PRIVILEGED(u_wrmsr, "wrmsr") PRIVILEGED(u_hlt, "hlt")
PRIVILEGED(u_cr2, "mov %%rax,%%cr2") PRIVILEGED(u_cr8, "mov %%cr8,%%rax")
PRIVILEGED(u_dr0, "mov %%rax,%%dr0") PRIVILEGED(u_dr7, "mov %%dr7,%%rax")
PRIVILEGED(u_sysexit, "sysexit") PRIVILEGED(u_sysret, "sysretq") PRIVILEGED(u_cli, "cli")
PRIVILEGED(u_sti, "sti") PRIVILEGED(u_in, "inb %%dx,%%al") PRIVILEGED(u_out, "outb %%al,%%dx")
PRIVILEGED(u_rdpmc, "rdpmc") PRIVILEGED(u_swapgs, "swapgs")
static void rdpmc(u64 n) { asm volatile("rdpmc" ::"c"(n) : "rax", "rdx"); }

static void privilege(void) {
  u64 (*const forms[])(u64) = {u_wbinvd, u_invd, u_clts, u_lmsw, u_lgdt, u_lidt, u_lldt, u_ltr,
                               u_invlpg, u_rdmsr, u_wrmsr, u_hlt, u_cr2, u_cr8, u_dr0, u_dr7,
                               u_sysexit, u_sysret, u_cli, u_sti, u_in, u_out, u_rdpmc, u_swapgs};
  for (unsigned n = 0; n < sizeof forms / sizeof forms[0]; ++n) {
    // An operand that could not even be read: the level is looked at first.
    const struct Trap t = try_user(forms[n], FREE_VA);
    CHECK_EQ(t.vector, VEC_GP);
    CHECK_EQ(t.error, 0);
  }
  CHECK_EQ(try_call(rdpmc, 0).vector, VEC_GP);  // leaf 0Ah: no counters
  asm volatile("wbinvd");
}

// ---- #UD -----------------------------------------------------------------------------------------------------
static u8 area[64] __attribute__((aligned(64)));
static u8 code[32];
static void run_code(u64 unused) {
  (void)unused;
  asm volatile("call *%0" ::"r"(code), "a"(area), "d"(0), "c"(0), "b"(0) : "memory", "cc", "rsi", "rdi");
}
static void undefined(const u8* bytes, unsigned n, int lock) {
  unsigned at = 0;
  if (lock) code[at++] = 0xf0;
  for (unsigned k = 0; k < n; ++k) code[at++] = bytes[k];
  code[at] = 0xc3;
  const struct Trap t = try_call(run_code, 0);
  CHECK_EQ(t.vector, VEC_UD);
  CHECK_EQ(t.rip, (u64)code);
}
static void missing(void) {
  static const u8 locked[][4] = {
      {0x01, 0xc0}, {0x03, 0x00}, {0x39, 0x00}, {0x3b, 0x00}, {0x85, 0x00}, {0x88, 0x00},
      {0x8b, 0x00}, {0x83, 0x38, 0}, {0xc1, 0x20, 1}, {0xf7, 0x20}, {0xf6, 0x00, 0}, {0xff, 0x30},
      {0xff, 0xc0}, {0x0f, 0xa3, 0x00}, {0x0f, 0xba, 0x20}, {0x0f, 0xb6, 0x00}, {0x0f, 0xc7, 0xf0},
      {0x0f, 0xb1, 0xc8}, {0x0f, 0xc1, 0xc8}, {0x87, 0xc8}, {0x90}, {0xa4}, {0xf4}, {0x0f, 0xa2},
      {0x0f, 0x20, 0xc0}, {0x0f, 0x58, 0x00}, {0x8d, 0x00}, {0x50}, {0x0f, 0x0d, 0x00}};
  static const u8 none[][4] = {
      {0x06}, {0x0e}, {0x16}, {0x1e}, {0x27}, {0x2f}, {0x37}, {0x3f}, {0x60}, {0x61}, {0x82, 0xc0, 0},
      {0x9a}, {0xce}, {0xd4, 10}, {0xd5, 10}, {0xd6}, {0xea}, {0x0f, 0x04}, {0x0f, 0x0a}, {0x0f, 0x0b},
      {0x0f, 0x24}, {0x0f, 0x36}, {0x0f, 0x39}, {0x0f, 0xa6, 0xc0}, {0x0f, 0xb9, 0xc0},
      {0x0f, 0xff, 0xc0}, {0x8d, 0xc0}, {0xfe, 0xd0}, {0xff, 0xf8}, {0x8f, 0xc8}, {0xc6, 0xc8, 0},
      {0x8e, 0xc8}, {0x8e, 0xf0}, {0x8c, 0xf0}, {0x0f, 0x01, 0xc1}, {0x0f, 0x01, 0xd8},
      {0x0f, 0x01, 0xfd}, {0x0f, 0xc7, 0xc8}, {0x0f, 0xaa}, {0xff, 0xd8}, {0xff, 0xe8},
      {0x0f, 0xae, 0xd0}, {0x0f, 0xba, 0xd8, 1}, {0x0f, 0x38, 0xf0, 0xc0}};
  for (unsigned n = 0; n < sizeof locked / 4; ++n) undefined(locked[n], 4, 1);
  for (unsigned n = 0; n < sizeof none / 4; ++n) undefined(none[n], 4, 0);
}

// ---- POPF ------------------------------------------------------------------------------------------------------
USER static u64 user_popf(u64 v) {
  u64 now;
  asm volatile("push %1; popfq; pushfq; pop %0; push $2; popfq" : "=r"(now) : "r"(v) : "cc", "memory");
  return now;
}
static void flags(void) {
  enum { ALL = 0xd7 | 1 << 10 | 1 << 11 | 1 << 14 | 1 << 18 | 1 << 21, SYSTEM = 0x3200 };
  const u64 before = rflags();
  u64 now;
  cli();
  asm volatile("push %1; popfq; pushfq; pop %0; push $2; popfq" : "=r"(now) : "r"(~0x100ull & ~0x200ull)
               : "cc", "memory");
  CHECK_EQ(now & ~2ull, (u64)((ALL | 0x3000) & ~2));  // IOPL; neither VM, RF, VIF nor VIP
  set_rflags(before & ~0x200ull);
  // CPL 3 above IOPL: IF and IOPL stay, silently.
  const struct Trap t = try_user(user_popf, ~0x100ull);
  CHECK_EQ(t.vector, VEC_USER_END);
  CHECK_EQ(t.rax & ~(u64)SYSTEM, (u64)ALL);
  CHECK_EQ(t.rax & 0x3000, 0);
  CHECK_EQ(try_user(user_popf, 2).rax & SYSTEM, t.rax & SYSTEM);
}

// ---- cache lines -------------------------------------------------------------------------------------------------
static void clflush(u64 a) { asm volatile("clflush (%0)" ::"r"(a) : "memory"); }
static void cache_lines(void) {
  const u64 page = free_page();
  CHECK_EQ(try_call(clflush, FREE_VA).vector, VEC_PF);
  CHECK_EQ(try_call(clflush, FREE_VA).error, 0);
  CHECK_EQ(try_call(clflush, BAD).vector, VEC_GP);
  map_page(FREE_VA, page, PTE_P, 1);
  CHECK_EQ(try_call(clflush, FREE_VA + 4095).vector, NO_TRAP);  // a read, of one byte
  CHECK_EQ(*pte_of(FREE_VA, 1) & PTE_D, 0);
  CHECK_EQ(*pte_of(FREE_VA, 1) & PTE_A, PTE_A);
}

void test(void) {
  branches();
  machine_status();
  privilege();
  missing();
  flags();
  cache_lines();
}
