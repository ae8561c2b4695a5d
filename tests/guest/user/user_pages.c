/* Page faults of user code with their error codes, CR2 and RIP; rights at every level of the tables; accessed and
 * dirty flags; instructions that fault half-way (SDM vol. 3, 4.6 to 4.8).
 */
#include "snippet.h"

#define VA FREE_VA
#define VSYSCALL 0xffffffffff600000ull
SNIPPET(read, "", "mov (%rdi), %rax");
SNIPPET(read1, "", "movzbl (%rdi), %eax");
SNIPPET(write, "mov $7, %eax", "mov %rax, (%rdi)");
SNIPPET(or, "", "orl $0, (%rdi)");
SNIPPET(lock_or, "", "lock orl $0, (%rdi)");
SNIPPET(cmpxchg_fails, "mov $-3, %eax", "lock cmpxchg %ecx, (%rdi)");
SNIPPET(bt, "xor %ecx, %ecx", "btl %ecx, (%rdi)");
SNIPPET(cmp, "", "cmpl $0, (%rdi)");
SNIPPET(sse_read, "", "movups (%rdi), %xmm0");
SNIPPET(sse_write, "", "movups %xmm0, (%rdi)");
SNIPPET(fild, "", "fildl (%rdi); fstp %st(0)");
SNIPPET(push, "mov %rsp, %rsi; mov %rdi, %rsp", "push %rax; mov %rsi, %rsp");
SNIPPET(pop, "mov %rsp, %rsi; mov %rdi, %rsp", "pop %rax; mov %rsi, %rsp");
SNIPPET(call, "mov %rsp, %rsi; mov %rdi, %rsp", "call 1f; 1: mov %rsi, %rsp");
SNIPPET(stos, "", "stosb");
SNIPPET(prefetch, "", "prefetcht0 (%rdi)");
SNIPPET(long_nop, "", "nopl (%rdi)");
SNIPPET(clflush, "", "clflush (%rdi)");
SNIPPET(xchg, "", "xchg %eax, (%rdi)");
SNIPPET(run, "xor %eax, %eax", "call *%rdi");
static const struct Snippet s_read = SNIP(read), s_read1 = SNIP(read1), s_write = SNIP(write), s_or = SNIP(or),
  s_lock_or = SNIP(lock_or), s_cmpxchg = SNIP(cmpxchg_fails), s_bt = SNIP(bt), s_cmp = SNIP(cmp), s_sse_read = SNIP(sse_read),
  s_sse_write = SNIP(sse_write), s_fild = SNIP(fild), s_push = SNIP(push), s_pop = SNIP(pop), s_call = SNIP(call),
  s_stos = SNIP(stos), s_prefetch = SNIP(prefetch), s_nop = SNIP(long_nop), s_clflush = SNIP(clflush), s_xchg = SNIP(xchg),
  s_run = SNIP(run);

static volatile u64* leaf(u64 va) { return space_pte(read_cr3(), va, 1); }
static void set(u64 va, u64 value) {
  *leaf(va) = value;
  invlpg(va);
}
static void expect_fault(const struct Snippet* s, u64 at, u64 cr2, u64 error) {
  const struct User u = run_snippet(s, at, 0);
  if (u.vector != VEC_PF || u.error != error || u.cr2 != cr2) show_user(s->name, &u), put_hex(at), put("\n");
  CASE_EQ(s->name, u.vector, VEC_PF);
  CASE_EQ(s->name, u.error, error);
  CASE_EQ(s->name, u.cr2, cr2);
  CASE_EQ(s->name, u.rip, s == &s_run ? at : (u64)s->at);
  CASE_EQ(s->name, u.rdi, at);
}
static void expect_end(const struct Snippet* s, u64 at) {
  const struct User u = run_snippet(s, at, 0);
  if (u.vector != VEC_USER_END) show_user(s->name, &u);
  CASE_EQ(s->name, u.vector, VEC_USER_END);
}

static void all_loads(u64 at, u64 error) {
  const struct Snippet* const loads[] = {&s_read, &s_read1, &s_bt, &s_cmp, &s_sse_read, &s_fild, &s_pop, &s_clflush};
  for (unsigned n = 0; n < sizeof loads / sizeof loads[0]; ++n)
    if (error) expect_fault(loads[n], at, at, error);
    else expect_end(loads[n], at);
}
static void all_stores(u64 at, u64 error) {
  const struct Snippet* const stores[] = {&s_write, &s_or, &s_lock_or, &s_cmpxchg, &s_sse_write, &s_stos, &s_xchg};
  for (unsigned n = 0; n < sizeof stores / sizeof stores[0]; ++n)
    if (error) expect_fault(stores[n], at, at, error);
    else expect_end(stores[n], at);
  if (error) {
    expect_fault(&s_push, at + 8, at, error);
    expect_fault(&s_call, at + 8, at, error);
  } else {
    expect_end(&s_push, at + 8);
    expect_end(&s_call, at + 8);
  }
}
static u64 page;
static void fill_code(void) {
  for (u64 n = 0; n < 512; ++n) AT(u64, page + 8 * n) = 0xc3c3c3c3c3c3c3c3;  // ret
}
static void all(u64 at, u64 load, u64 store, u64 run) {
  all_loads(at, load);
  all_stores(at, store);
  fill_code();
  if (run) expect_fault(&s_run, at, at, run);
  else expect_end(&s_run, at);
  expect_end(&s_prefetch, at);
  expect_end(&s_nop, at);
}

// The tables' flags at one level, all levels above allowing everything; and what they mean.
static void rights_at(unsigned level, u64 va) {
  static const struct { u64 flags; u64 load, store, run; } rows[] = {
    {PTE_URW, 0, 0, 0}, {PTE_UR, 0, 7, 0}, {PTE_URW | PTE_NX, 0, 0, 0x15}, {PTE_UR | PTE_NX, 0, 7, 0x15},
    {PTE_P | PTE_W, 5, 7, 0x15}, {PTE_P, 5, 7, 0x15}, {PTE_P | PTE_NX, 5, 7, 0x15}, {0, 4, 6, 0x14},
    {PTE_W | PTE_U, 4, 6, 0x14}, {PTE_URW | PTE_G, 0, 0, 0}};
  volatile u64* e = space_pte(read_cr3(), va, level);
  (void)leaf(va);
  const u64 was = *e;
  for (int round = 0; round < 2; ++round)
    for (unsigned n = 0; n < sizeof rows / sizeof rows[0]; ++n) {
      if (level == 4 && rows[n].flags & PTE_G) continue;  // reserved there
      *e = (was & 0xffffffffff080) | rows[n].flags;
      if (level == 1) invlpg(va);
      else write_cr3(read_cr3());
      fill_code();
      all(va, rows[n].load, rows[n].store, rows[n].run);
    }
  *e = was;
  write_cr3(read_cr3());
  invlpg(va);  // global pages stay
}

static void reserved_bits(void) {
  u32 r[4];
  cpuid(0x80000008, 0, r);
  const unsigned width = r[0] & 0xff;
  if (width < 52) {
    set(VA, page | PTE_URW | 1ull << 51);
    all(VA, 0xd, 0xf, 0x1d);
  }
  volatile u64* pdpte = space_pte(read_cr3(), VA, 3);
  const u64 was = *pdpte;
  *pdpte = 0x40000000 | PTE_URW | PTE_PS | 1 << 13;  // a reserved bit of a 1 GiB page
  write_cr3(read_cr3());
  all(VA, 0xd, 0xf, 0x1d);
  *pdpte = was;
  write_cr3(read_cr3());
  set(VA, page | PTE_URW | PTE_NX);
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~0x800ull);  // NX is reserved then, and I is not told
  all(VA, 0xd, 0xf, 0xd);
  set(VA, 0);
  all(VA, 4, 6, 4);
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 0x800);
}

static void kernel_addresses(void) {
  const u64 high[] = {VSYSCALL, VSYSCALL + 0x400, 0xffff800000000000, 0xffffffff81000000, 0x7ffffffff000, 0x7fffffffe000,
                      0x7ffff7fc1000, 0x10000000};
  for (unsigned n = 0; n < sizeof high / sizeof high[0]; ++n) all(high[n], 4, 6, 0x14);
  all(0x100000, 5, 7, 0x15);  // the kernel itself
  all(64, 5, 7, 0x15);
  all(0x400000, 5, 7, 0x15);
}

// A user's pages where a host has none for its own processes, or an engine something of its own.
static void odd_address(u64 at) {
  fill_code();
  set(at, page | PTE_URW);
  all(at + 64, 0, 0, 0);
  expect_end(&s_write, at + 64);
  CASE_EQ("odd address", AT(u64, page + 64), 7);
  set(at, page | PTE_UR | PTE_NX);
  all(at + 64, 0, 7, 0x15);
  set(at, 0);
  all(at + 64, 4, 6, 0x14);
}
static void odd_addresses(void) {
  static const u64 at[] = {0x7ffffffff000, 0x7fffffffe000, VSYSCALL, 0xffff800000000000, 0xfffffffffffff000, 0x4001000,
                           0x555555554000, 0x7ffff7fc1000, 0x6a8050000000, 0x6a8050001000};
  for (int round = 0; round < 2; ++round)
    for (unsigned n = 0; n < sizeof at / sizeof at[0]; ++n) odd_address(at[n]);
  // the first pages of all, out of the kernel's large one
  const u64 table = frame();
  for (u64 n = 0; n < 512; ++n) AT(u64, table + 8 * n) = n * 4096 | PTE_P | PTE_W;
  *pte_of(0, 2) = table | PTE_URW;
  write_cr3(read_cr3());
  for (u64 low = 0; low < 0x3000; low += 0x1000) odd_address(low);
}

// ---- accessed and dirty ------------------------------------------------------------------------------
enum { A = 0x20, D = 0x40 };
static void flags_are(const char* what, unsigned level, u64 wanted) {
  CASE_EQ(what, *space_pte(read_cr3(), VA, level) & (A | D), wanted);
}
static void accessed_and_dirty(void) {
  for (int round = 0; round < 4; ++round) {
    fill_code();
    for (unsigned level = 4; level > 1; --level) *space_pte(read_cr3(), VA, level) &= ~(u64)A;
    set(VA, page | PTE_URW);
    write_cr3(read_cr3());
    flags_are("untouched", 1, 0);
    expect_end(&s_prefetch, VA);
    expect_end(&s_read, VA);
    flags_are("read", 1, A);
    for (unsigned level = 4; level > 1; --level) flags_are("upper levels", level, A);
    expect_end(&s_run, VA);
    flags_are("run", 1, A);
    expect_end(&s_write, VA + 64);
    flags_are("write", 1, A | D);
    set(VA, page | PTE_URW | A);  // the kernel cleans the page
    expect_end(&s_read, VA);
    flags_are("read of clean page", 1, A);
    expect_end(&s_write, VA + 64);
    flags_are("write to clean page", 1, A | D);
    set(VA, page | PTE_URW | D);  // and makes it old
    expect_end(&s_read, VA);
    flags_are("read of old page", 1, A | D);
    set(VA, page | PTE_URW);
    expect_end(&s_run, VA);
    flags_are("run after INVLPG", 1, A);
    set(VA, page | PTE_UR);
    expect_fault(&s_write, VA, VA, 7);
    flags_are("refused write", 1, 0);
    expect_fault(&s_lock_or, VA, VA, 7);
    expect_fault(&s_cmpxchg, VA, VA, 7);
    CASE_EQ("refused write", *leaf(VA) & D, 0);
    set(VA, page | PTE_URW);
    expect_end(&s_cmpxchg, VA);  // writes what was there
    flags_are("failed CMPXCHG", 1, A | D);
    set(VA, page | PTE_URW);
    expect_end(&s_push, VA + 8);
    flags_are("push", 1, A | D);
  }
}

// ---- more than one page --------------------------------------------------------------------------------
SNIPPET(movsb, "mov %rdi, %rsi; add $0x2000, %rdi; mov $64, %ecx", "rep movsb");
SNIPPET(stosq, "mov $64, %ecx; xor %eax, %eax", "rep stosq");
SNIPPET(scasb, "mov $64, %ecx; mov $1, %eax", "repne scasb");
SNIPPET(stosb_down, "mov $64, %ecx; xor %eax, %eax; std", "rep stosb; cld");
SNIPPET(fxsave, "", "fxsave64 (%rdi)");
SNIPPET(enter, "mov %rsp, %rsi; mov %rdi, %rsp", "enter $0, $0");
SNIPPET(movs_two, "mov %rdi, %rsi; mov $0x9000000000, %rdi", "movsq");
SNIPPET(pop_mem, "", "pop (%rdi)");
SNIPPET(push_mem, "mov %rsp, %rsi", "push (%rdi); mov %rsi, %rsp");

static void halves(void) {
  const u64 second = frame(), third = frame();
  for (int round = 0; round < 3; ++round) {
    set(VA, page | PTE_URW);
    set(VA + 0x1000, 0);
    set(VA + 0x2000, third | PTE_URW);
    set(VA + 0x3000, 0);
    fill_code();
    expect_fault(&s_read, VA + 0xffc, VA + 0x1000, 4);
    expect_fault(&s_write, VA + 0xffc, VA + 0x1000, 6);
    CASE_EQ("half a store", AT(u32, page + 0xffc), 0xc3c3c3c3);
    expect_fault(&s_lock_or, VA + 0xffe, VA + 0x1000, 6);
    expect_fault(&s_sse_write, VA + 0xff1, VA + 0x1000, 6);
    CASE_EQ("half a store", AT(u64, page + 0xff4), 0xc3c3c3c3c3c3c3c3);
    expect_fault(&s_write, VA - 4, VA - 4, 6);
    // an instruction whose last bytes are not there
    AT(u8, page + 0xffe) = 0xb8;  // mov eax, imm32
    struct User u = run_snippet(&s_run, VA + 0xffe, 0);
    CASE_EQ("half an instruction", u.vector, VEC_PF);
    CASE_EQ("half an instruction", u.error, 0x14);
    CASE_EQ("half an instruction", u.cr2, VA + 0x1000);
    CASE_EQ("half an instruction", u.rip, VA + 0xffe);
    AT(u32, second) = 0xc3000000;
    set(VA + 0x1000, second | PTE_UR);
    run_user(&u);
    CASE_EQ("half an instruction", u.vector, VEC_USER_END);
    CASE_EQ("half an instruction", u.rax, 0xc3);
    set(VA + 0x1000, second | PTE_UR | PTE_NX);
    u = run_snippet(&s_run, VA + 0xffe, 0);
    CASE_EQ("half of it NX", u.vector, VEC_PF);
    CASE_EQ("half of it NX", u.error, 0x15);
    CASE_EQ("half of it NX", u.cr2, VA + 0x1000);
    // the read of one access is allowed, the write is not
    set(VA + 0x1000, second | PTE_UR);
    expect_fault(&s_write, VA + 0xffc, VA + 0x1000, 7);
    CASE_EQ("half a store", AT(u32, page + 0xffc), 0xc3b8c3c3);
  }
}

// How far repeated instructions come, and that they go on from there.
static void repeated(void) {
  const u64 second = frame(), third = frame(), fourth = frame();
  static const struct Snippet movsb = SNIP(movsb), stosq = SNIP(stosq), scasb = SNIP(scasb), down = SNIP(stosb_down);
  for (int round = 0; round < 3; ++round) {
    fill_code();
    set(VA, page | PTE_URW), set(VA + 0x1000, 0), set(VA + 0x2000, third | PTE_URW), set(VA + 0x3000, 0);
    struct User u = run_snippet(&movsb, VA + 0xff0, 0);
    CASE_EQ("movsb", u.vector, VEC_PF);
    CASE_EQ("movsb", u.cr2, VA + 0x1000);
    CASE_EQ("movsb", u.error, 4);
    CASE_EQ("movsb", u.rcx, 48);
    CASE_EQ("movsb", u.rsi, VA + 0x1000);
    CASE_EQ("movsb", u.rdi, VA + 0x3000);
    CASE_EQ("movsb", u.rip, (u64)movsb.at);
    AT(u64, second) = 0x1122334455667788;
    set(VA + 0x1000, second | PTE_UR);
    run_user(&u);
    CASE_EQ("movsb", u.vector, VEC_PF);
    CASE_EQ("movsb", u.cr2, VA + 0x3000);
    CASE_EQ("movsb", u.error, 6);
    CASE_EQ("movsb", u.rcx, 48);
    set(VA + 0x3000, fourth | PTE_URW);
    run_user(&u);
    CASE_EQ("movsb", u.vector, VEC_USER_END);
    CASE_EQ("movsb", u.rcx, 0);
    CASE_EQ("movsb", AT(u64, fourth), 0x1122334455667788);
    set(VA + 0x1000, 0);
    u = run_snippet(&stosq, VA + 0xfe0, 0);
    CASE_EQ("stosq", u.vector, VEC_PF);
    CASE_EQ("stosq", u.rcx, 60);
    CASE_EQ("stosq", u.rdi, VA + 0x1000);
    u = run_snippet(&scasb, VA + 0xff8, 0);
    CASE_EQ("scasb", u.vector, VEC_PF);
    CASE_EQ("scasb", u.rcx, 56);
    CASE_EQ("scasb", u.cr2, VA + 0x1000);
    u = run_snippet(&down, VA + 0x2007, 0);
    CASE_EQ("stosb down", u.vector, VEC_PF);
    CASE_EQ("stosb down", u.rcx, 56);
    CASE_EQ("stosb down", u.rdi, VA + 0x1fff);
    CASE_EQ("stosb down", u.rflags & 0x400, 0x400);
  }
}

// Pushes and pops that fault leave RSP alone.
static void stacks(void) {
  static const struct Snippet pop_mem = SNIP(pop_mem), push_mem = SNIP(push_mem), two = SNIP(movs_two), save = SNIP(fxsave);
  for (int round = 0; round < 3; ++round) {
    set(VA, page | PTE_UR), set(VA + 0x1000, 0);
    struct User u = run_snippet(&pop_mem, VA, 0);
    CASE_EQ("pop to memory", u.vector, VEC_PF);
    CASE_EQ("pop to memory", u.error, 7);
    CASE_EQ("pop to memory", u.rsp, user_begin(0, 0).rsp);
    u = run_snippet(&push_mem, VA + 0x1000, 0);
    CASE_EQ("push of memory", u.error, 4);
    CASE_EQ("push of memory", u.rsp, u.rsi);
    u = run_snippet(&two, VA, 0);
    CASE_EQ("movsq", u.vector, VEC_PF);
    CASE_EQ("movsq", u.error, 6);
    CASE_EQ("movsq", u.cr2, 0x9000000000);
    CASE_EQ("movsq", u.rsi, VA);
    set(VA, page | PTE_URW);
    AT(u64, page + 0xe00) = 0x5555;
    u = run_snippet(&save, VA + 0xf00, 0);
    CASE_EQ("fxsave", u.vector, VEC_PF);
    CASE_EQ("fxsave", u.error, 6);
  }
}

// 2 MiB pages: by half of them, next to small ones, and dirty as a whole.
static void large(void) {
  const u64 big = 0x2000000, at = VA + (1ull << 30);
  volatile u64* e = space_pte(read_cr3(), at, 2);
  for (int round = 0; round < 3; ++round) {
    for (u64 n = 0; n < 512; ++n) AT(u8, big + 4096 * n) = 0xc3;
    *e = big | PTE_URW | PTE_PS;
    invlpg(at);
    for (u64 n = 0; n < 512; n += 73) {
      expect_end(&s_read, at + 4096 * n);
      CASE_EQ("large page", *e & (A | D), A);
    }
    expect_end(&s_run, at + 4096 * 100);
    expect_end(&s_write, at + 0x1ffff0);
    CASE_EQ("large page", *e & (A | D), A | D);
    CASE_EQ("large page", AT(u64, big + 0x1ffff0), 7);
    *e = big | PTE_UR | PTE_PS | PTE_NX;
    invlpg(at + 0x12345);
    all(at + 4096 * 5, 0, 7, 0x15);
    expect_fault(&s_write, at + 4096 * 500, at + 4096 * 500, 7);
    expect_fault(&s_run, at + 4096 * 100, at + 4096 * 100, 0x15);
    *e = 0;
    invlpg(at);
    all(at + 4096 * 6, 4, 6, 0x14);
    expect_fault(&s_read, at + 4096 * 73, at + 4096 * 73, 4);
  }
}

// 1 GiB: memory, and behind it nobody who answers.
static void huge(void) {
  u32 r[4];
  cpuid(0x80000001, 0, r);
  if (!(r[3] >> 26 & 1)) return;
  const u64 at = VA + (2ull << 30);
  volatile u64* e = space_pte(read_cr3(), at, 3);
  for (int round = 0; round < 2; ++round) {
    *e = PTE_URW | PTE_PS;
    invlpg(at);
    fill_code();
    expect_end(&s_read, at + page);
    CASE_EQ("huge page", *e & (A | D), A);
    expect_end(&s_run, at + page + 64);
    CASE_EQ("huge page", *e & (A | D), A);
    expect_end(&s_write, at + page);
    CASE_EQ("huge page", *e & (A | D), A | D);
    CASE_EQ("huge page", AT(u64, page), 7);
    const struct User u = run_snippet(&s_read, at + 0x30000000, 0);
    CASE_EQ("nobody", u.vector, VEC_USER_END);
    CASE_EQ("nobody", u.rax, ~0ull);
    *e = PTE_UR | PTE_PS | PTE_NX;
    invlpg(at + page);
    all(at + page, 0, 7, 0x15);
    *e = 0;
    invlpg(at);
    all(at + page, 4, 6, 0x14);
  }
}

void test(void) {
  user_init();
  page = frame();
  fill_code();
  write_cr4(read_cr4() | CR4_PGE);
  *leaf(VA) = page | PTE_URW;
  for (unsigned level = 1; level <= 4; ++level) rights_at(level, VA);
  reserved_bits();
  kernel_addresses();
  accessed_and_dirty();
  halves();
  repeated();
  stacks();
  large();
  huge();
  odd_addresses();  // last: an engine may then know that it cannot help here
}
