/* Exceptions with their error codes, saved rip (fault or trap), rights of CPL 3; IST; alignment
 * check; #MF, #XM, #NM, #UD; double fault (SDM vol. 3, 6.12 to 6.15).
 */
#include "guest.h"

static void de(u64 unused) { (void)unused; asm volatile("xor %%eax,%%eax; xor %%edx,%%edx; div %%eax" ::: "rax", "rdx"); }
static void ud(u64 unused) { (void)unused; asm volatile("ud2"); }
static void bp(u64 unused) { (void)unused; asm volatile("int3"); }
static void int_n(u64 unused) { (void)unused; asm volatile("int $0x50"); }
static void gp_ss(u64 a) { asm volatile("mov %0,%%rsp; pop %%rax" ::"r"(a) : "rax"); }
static void load_ds(u64 sel) { asm volatile("mov %w0,%%ds" ::"r"(sel)); }
static void load_ss(u64 sel) { asm volatile("mov %w0,%%ss" ::"r"(sel)); }
static void cr0_bad(u64 v) { write_cr0(v); }
static void cr4_bad(u64 v) { write_cr4(v); }
static void lock_ud(u64 a) { asm volatile(".byte 0xf0; movl %%eax,(%0)" ::"r"(a) : "memory"); }
static void long_insn(u64 unused) {
  (void)unused;
  asm volatile(".fill 15, 1, 0x66; nop");
}
USER static u64 user_hlt(u64 x) { asm volatile("hlt"); return x; }
USER static u64 user_cli(u64 x) { asm volatile("cli"); return x; }
USER static u64 user_int(u64 x) { asm volatile("int $0x20"); return x; }
USER static u64 user_bp(u64 x) { asm volatile("int3"); return x; }
USER static u64 user_rdmsr(u64 x) { return rdmsr((u32)x); }
USER static u64 user_cr0(u64 x) { return x + read_cr0(); }
USER static u64 user_unaligned(u64 a) {
  u64 f;
  asm volatile("pushfq; orl $0x40000,(%%rsp); popfq; mov 1(%1),%%eax; pushfq; andl $~0x40000,(%%rsp); popfq"
               : "=a"(f) : "r"(a) : "memory", "cc");
  return f;
}

static void classes(void) {
  struct Trap t = try_call(de, 0);
  CHECK_EQ(t.vector, VEC_DE);
  t = try_call(ud, 0);
  CHECK_EQ(t.vector, VEC_UD);
  CHECK_EQ(AT(u16, t.rip), 0x0b0f);  // a fault: rip at the instruction
  t = try_call(bp, 0);
  CHECK_EQ(t.vector, VEC_BP);
  CHECK_EQ(AT(u8, t.rip - 1), 0xcc);  // a trap: rip behind it
  t = try_call(int_n, 0);
  CHECK_EQ(t.vector, 0x50);
  CHECK_EQ(AT(u16, t.rip - 2), 0x50cd);
  set_gate(VEC_SS, trap_stub(VEC_SS), 2, 0);
  t = try_call(gp_ss, 0x800000000000);
  set_gate(VEC_SS, trap_stub(VEC_SS), 0, 0);
  CHECK_EQ(t.vector, VEC_SS);
  CHECK_EQ(t.error, 0);
  CHECK_EQ(try_call(lock_ud, 0x1800000).vector, VEC_UD);
  CHECK_EQ(try_call(long_insn, 0).vector, VEC_GP);
}

static void selectors(void) {
  CHECK_EQ(try_call(load_ds, 0).vector, NO_TRAP);
  struct Trap t = try_call(load_ds, 0x1000);  // beyond the GDT
  CHECK_EQ(t.vector, VEC_GP);
  CHECK_EQ(t.error, 0x1000);
  gdt[0][SEL_FREE / 8] = 0x00cf13000000ffff;  // data, not present
  t = try_call(load_ds, SEL_FREE);
  CHECK_EQ(t.vector, VEC_NP);
  CHECK_EQ(t.error, SEL_FREE);
  t = try_call(load_ss, SEL_FREE);
  CHECK_EQ(t.vector, VEC_SS);
  CHECK_EQ(t.error, SEL_FREE);
  t = try_call(load_ss, SEL_UDATA);  // DPL is not CPL
  CHECK_EQ(t.vector, VEC_GP);
  CHECK_EQ(t.error, SEL_UDATA & ~3);
  t = try_call(load_ds, SEL_TSS);  // a system segment
  CHECK_EQ(t.vector, VEC_GP);
  gdt[0][SEL_FREE / 8] = 0x00cf92000000ffff;  // data, not accessed yet
  CHECK_EQ(try_call(load_ds, SEL_FREE).vector, NO_TRAP);
  CHECK_EQ(gdt[0][SEL_FREE / 8] >> 40 & 1, 1);  // now it is
  CHECK_EQ(try_call(load_ds, SEL_DATA).vector, NO_TRAP);
}

static void privilege(void) {
  struct Trap t = try_user(user_hlt, 0);
  CHECK_EQ(t.vector, VEC_GP);
  CHECK_EQ(t.error, 0);
  CHECK_EQ(t.cs, SEL_UCODE64);
  CHECK_EQ(try_user(user_cli, 0).vector, VEC_GP);
  t = try_user(user_int, 0);  // a gate of DPL 0
  CHECK_EQ(t.vector, VEC_GP);
  CHECK_EQ(t.error, 0x20 * 8 + 2);
  CHECK_EQ(try_user(user_bp, 0).vector, VEC_BP);
  CHECK_EQ(try_user(user_rdmsr, MSR_EFER).vector, VEC_GP);
  CHECK_EQ(try_user(user_cr0, 0).vector, VEC_GP);
  CHECK_EQ(try_call(cr0_bad, read_cr0() & ~1ull).vector, VEC_GP);   // PG without PE
  CHECK_EQ(try_call(cr0_bad, read_cr0() | 1ull << 32).vector, VEC_GP);
  CHECK_EQ(try_call(cr4_bad, read_cr4() | 1ull << 31).vector, VEC_GP);
  CHECK_EQ(try_call(cr4_bad, read_cr4() & ~0x20ull).vector, VEC_GP);  // PAE in long mode
}

static void alignment(void) {
  static USER_DATA u8 bytes[16] __attribute__((aligned(16)));
  CHECK_EQ(try_user(user_unaligned, (u64)bytes).vector, VEC_USER_END);  // CR0.AM = 0
  write_cr0(read_cr0() | CR0_AM);
  const struct Trap t = try_user(user_unaligned, (u64)bytes);
  CHECK_EQ(t.vector, VEC_AC);
  CHECK_EQ(t.error, 0);
  CHECK_EQ(try_user(user_unaligned, (u64)bytes + 3).vector, VEC_USER_END);
  write_cr0(read_cr0() & ~CR0_AM);
}

static void on_df(struct Frame* f) {
  CHECK_EQ(f->error, 0);
  finish(0);
}

static void stacks(void) {
  set_gate(VEC_UD, trap_stub(VEC_UD), 3, 0);
  CHECK_EQ(try_call(ud, 0).vector, VEC_UD);
  set_gate(VEC_UD, trap_stub(VEC_UD), 0, 0);
}

void test(void) {
  classes();
  selectors();
  privilege();
  alignment();
  stacks();
  // #PF whose gate is not present: #NP while delivering #PF is a double fault, on its IST stack
  set_handler(VEC_DF, on_df);
  set_gate(VEC_DF, trap_stub(VEC_DF), 1, 0);
  asm volatile("mov %0,%%rsp; movb $0,(%1)" ::"r"(0x7f00000ull << 12), "r"(FREE_VA));  // no stack either
  CHECK(0);
}
