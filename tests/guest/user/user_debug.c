/* Single steps and breakpoints in user code: what each step shows, through faults, system calls, repeated strings,
 * CPUID, loads of segments; code and data breakpoints on and beside what runs, with RF (SDM vol. 3, ch. 18).
 */
#include "snippet.h"

#define MAKE_DR(n) INLINE void write_dr##n(u64 v) { asm volatile("mov %0,%%dr" #n ::"r"(v) : "memory"); }
MAKE_DR(0) MAKE_DR(1) MAKE_DR(2) MAKE_DR(3) MAKE_DR(7)
enum { EXECUTE = 0, WRITE = 1, ACCESS = 3, LEN1 = 0, LEN2 = 4, LEN8 = 8, LEN4 = 12, BS = 1 << 14, RF = 1 << 16 };
#define DR6_NONE 0xffff0ff0u
static u64 on(unsigned n, unsigned kind) { return 1ull << 2 * n | (u64)kind << (16 + 4 * n); }  // locally

// ---- single steps ---------------------------------------------------------------------------------------------
extern u8 path[], path_end[], path_call[], path_rep[], path_after_rep[], path_push[], path_leave[], path_ss[];
asm(".pushsection .user.text,\"ax\"\n"
    "path:\n"
    "  mov $3, %ecx\n"
    "1: inc %eax\n"
    "  dec %ecx\n"
    "  jnz 1b\n"
    "path_call:\n"
    "  call 3f\n"
    "  mov $0, %eax\n"
    "  cpuid\n"
    "  rdtsc\n"
    "  mov $0x2b, %eax\n"
    "  mov %eax, %ds\n"
    "  mov $0, %eax\n"
    "  mov %eax, %ds\n"
    "  fninit\n"
    "  pxor %xmm0, %xmm0\n"
    "  mov $3, %ecx\n"
    "path_rep:\n"
    "  rep stosb\n"
    "path_after_rep:\n"
    "  nop\n"
    "path_push:\n"
    "  pushfq\n"
    "  pop %rdx\n"
    "  mov %ss, %eax\n"
    "path_ss:\n"
    "  mov %eax, %ss\n"
    "  nop\n"
    "path_leave:\n"
    "  push $2\n"
    "  popfq\n"
    "path_end:\n"
    "  nop\n"
    "  ret\n"
    "3: ret\n"
    ".popsection");
static USER_DATA u8 area[64] __attribute__((aligned(64)));

static u64 step(struct User* u) {
  run_user(u);
  CHECK_EQ(u->vector, VEC_DB);
  CHECK_EQ(u->dr6, DR6_NONE | BS);
  CHECK_EQ(u->error, 0);
  return u->rip;
}
static void single_steps(int by_sysret) {
  struct User u = user_begin((u64(*)(u64))path, (u64)area);
  u.rflags |= FLAG_TF;
  u64 steps = 0, last = (u64)path, in_rep = 0;
  while (step(&u) != (u64)path_end) {
    CHECK(++steps < 100);
    CHECK(u.rip != last || u.rip == (u64)path_rep);
    CHECK_EQ(u.rflags & FLAG_TF, FLAG_TF);
    if (last == (u64)path_rep) {
      ++in_rep;
      CHECK_EQ(u.rcx, 3 - in_rep);
      CHECK_EQ(u.rflags & RF, u.rip == (u64)path_rep ? RF : 0);
    } else {
      CHECK_EQ(u.rflags & RF, 0);
    }
    if (last == (u64)path_push) CHECK_EQ(AT(u64, u.rsp) & (FLAG_TF | 0x200), FLAG_TF | 0x200);
    if (last == (u64)path_ss) CHECK_EQ(u.rip, path_leave);  // MOV SS holds the trap off
    last = u.rip;
    // SYSRET loses RCX, where it counts
    u.sysret = by_sysret && ((u.rip >= (u64)path_call && u.rip <= (u64)path_rep - 5) || u.rip >= (u64)path_after_rep);
  }
  CHECK_EQ(in_rep, 3);
  CHECK_EQ(u.rdx & (FLAG_TF | 0x200), FLAG_TF | 0x200);
  CHECK_EQ(u.rflags & FLAG_TF, 0);  // POPF cleared it, and trapped once more
  run_user(&u);
  CHECK_EQ(u.vector, VEC_USER_END);
}

// TF that user code sets itself: the trap is after the instruction behind POPF.
SNIPPET(sets_tf, "pushfq; orl $0x100, (%rsp); popfq", "nop");
SNIPPET(tf_syscall, "pushfq; orl $0x100, (%rsp); popfq", "syscall");
SNIPPET(tf_ud, "pushfq; orl $0x100, (%rsp); popfq", "ud2");
SNIPPET(tf_int3, "pushfq; orl $0x100, (%rsp); popfq", "int3");
SNIPPET_AWAY(tf_int80, "pushfq; orl $0x100, (%rsp); popfq", "int $0x80");
SNIPPET(tf_fault, "xor %eax, %eax; bts $40, %rax; pushfq; orl $0x100, (%rsp); popfq", "mov (%rax), %rcx");
SNIPPET(tf_cpuid, "pushfq; orl $0x100, (%rsp); popfq", "cpuid");
SNIPPET(tf_hlt, "pushfq; orl $0x100, (%rsp); popfq", "hlt");
SNIPPET(tf_div, "xor %edx, %edx; xor %ecx, %ecx; pushfq; orl $0x100, (%rsp); popfq", "div %ecx");
SNIPPET_AWAY(tf_lsl, "mov $0x2b, %ecx; pushfq; orl $0x100, (%rsp); popfq", "lsl %ecx, %ecx");
static void own_steps(void) {
  static const struct { struct Snippet s; u32 vector, trap; } rows[] = {
    {SNIP(sets_tf), VEC_DB, 1}, {SNIP(tf_syscall), VEC_SYSCALL, 1}, {SNIP(tf_ud), VEC_UD, 0}, {SNIP(tf_int3), VEC_BP, 1},
    {SNIP(tf_int80), 0x80, 1}, {SNIP(tf_fault), VEC_PF, 0}, {SNIP(tf_cpuid), VEC_DB, 1}, {SNIP(tf_hlt), VEC_GP, 0},
    {SNIP(tf_div), VEC_DE, 0}, {SNIP(tf_lsl), VEC_DB, 1}};
  for (unsigned n = 0; n < sizeof rows / sizeof rows[0]; ++n) {
    struct User u = user_begin((u64(*)(u64))rows[n].s.start, (u64)area);
    run_user(&u);
    CASE_EQ(rows[n].s.name, u.vector, rows[n].vector);
    CASE_EQ(rows[n].s.name, u.rip, (u64)(rows[n].trap ? rows[n].s.after : rows[n].s.at));
    CASE_EQ(rows[n].s.name, u.rflags & FLAG_TF, FLAG_TF);
    if (u.vector == VEC_DB) CASE_EQ(rows[n].s.name, u.dr6, DR6_NONE | BS);
    if (u.vector == 0x80) continue;
    // on to the next instruction, which is RET, or past the one that faulted
    u.rip = (u64)rows[n].s.after;
    CASE_EQ(rows[n].s.name, (run_user(&u), u.vector), VEC_DB);
    u.rflags &= ~FLAG_TF;
    run_user(&u);
    CASE_EQ(rows[n].s.name, u.vector, VEC_USER_END);
  }
}

// ---- breakpoints ------------------------------------------------------------------------------------------------
extern u8 loop_at[], loop_store[], loop_after_store[], loop_load[], loop_after_load[];
asm(".pushsection .user.text,\"ax\"\n"
    "user_loop:\n"  // edi: turns; rsi: where
    "  xor %eax, %eax\n"
    "loop_at:\n"
    "  inc %eax\n"
    "loop_store:\n"
    "  mov %eax, (%rsi)\n"
    "loop_after_store:\n"
    "  xor %ecx, %ecx\n"
    "loop_load:\n"
    "  mov 32(%rsi), %rdx\n"
    "loop_after_load:\n"
    "  dec %edi\n"
    "  jnz loop_at\n"
    "  ret\n"
    ".popsection");
u64 user_loop(u64 turns);

static void run_loop(u64 turns, u64 hits_wanted, const u8* at, u64 bits, int fault) {
  struct User u = user_begin(user_loop, turns);
  u.rsi = (u64)area;
  u64 hits = 0;
  for (;;) {
    run_user(&u);
    if (u.vector != VEC_DB) break;
    ++hits;
    CHECK_EQ(u.rip, (u64)at);
    CHECK_EQ(u.dr6, DR6_NONE | bits);
    CHECK_EQ(u.rflags & RF, 0);
    if (fault) CHECK_EQ(u.rax, hits - 1);
    else CHECK_EQ(u.rax, hits);
    u.rflags |= RF;
  }
  CHECK_EQ(u.vector, VEC_USER_END);
  CHECK_EQ(u.rax, turns);
  CHECK_EQ(hits, hits_wanted);
}
static void breakpoints(void) {
  write_dr0((u64)loop_at);
  write_dr7(on(0, EXECUTE));
  run_loop(20, 20, loop_at, 1, 1);
  write_dr7(0);
  run_loop(20, 0, 0, 0, 0);
  write_dr1((u64)area);
  write_dr7(on(1, WRITE | LEN4));
  run_loop(20, 20, loop_after_store, 2, 0);
  write_dr2((u64)area + 32);
  write_dr7(on(2, ACCESS | LEN8));
  run_loop(20, 20, loop_after_load, 4, 0);
  write_dr7(on(2, WRITE | LEN8));  // it is only read
  run_loop(20, 0, 0, 0, 0);
  write_dr3((u64)area + 8);  // beside
  write_dr7(on(3, ACCESS | LEN8));
  run_loop(20, 0, 0, 0, 0);
  write_dr3((u64)area + 3);
  write_dr7(on(3, ACCESS | LEN1));  // the last byte
  run_loop(20, 20, loop_after_store, 8, 0);
  // in the same pages, never met
  write_dr0((u64)loop_at + 1);
  write_dr1((u64)area + 48);
  write_dr7(on(0, EXECUTE) | on(1, ACCESS | LEN8));
  run_loop(5000, 0, 0, 0, 0);
  // armed while user code is under way, and gone again
  struct User u = user_begin(user_loop, 10);
  u.rsi = (u64)area;
  write_dr0((u64)loop_load);
  for (int n = 0; n < 8; ++n) {
    write_dr7(n & 1 ? on(0, EXECUTE) : 0);
    u.rflags = (u.rflags & ~(u64)(RF | FLAG_TF)) | (n & 1 ? 0 : FLAG_TF);
    run_user(&u);
    CHECK_EQ(u.vector, VEC_DB);
    CHECK_EQ(u.dr6, DR6_NONE | (n & 1 ? 1 : BS));
    if (n & 1) CHECK_EQ(u.rip, (u64)loop_load);
    if (n & 1) u.rflags |= RF;
  }
  write_dr7(0);
}

// A single step onto a breakpoint, and a data breakpoint met by a step: both are told.
static void both(void) {
  struct User u = user_begin(user_loop, 3);
  u.rsi = (u64)area;
  write_dr1((u64)area);
  write_dr7(on(1, WRITE | LEN4));
  u.rflags |= FLAG_TF;
  for (int n = 0; n < 2; ++n) CHECK_EQ((run_user(&u), u.dr6), DR6_NONE | BS);
  CHECK_EQ(u.rip, (u64)loop_store);
  run_user(&u);
  CHECK_EQ(u.rip, (u64)loop_after_store);
  CHECK_EQ(u.dr6, DR6_NONE | BS | 2);
  write_dr7(0);
  u.rflags &= ~FLAG_TF;
  run_user(&u);
  CHECK_EQ(u.vector, VEC_USER_END);
}

void test(void) {
  user_init();
  for (int round = 0; round < 4; ++round) {
    single_steps(0);
    single_steps(1);
    own_steps();
    breakpoints();
    both();
  }
}
