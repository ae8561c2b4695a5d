/* Debug exceptions that MOV SS and POP SS put off by one instruction, whatever that instruction is: NOP, INT3,
 * INT n, ICEBP, SYSCALL, a fault; at CPL 0 and 3 (then the #DB comes at CPL 0, on the first instruction of the
 * handler: CVE-2018-8897). What each of them does to TF, and to an instruction breakpoint. STI puts off
 * interrupts only. RF in what faults, traps and interrupts push (SDM vol. 3, 6.8.3, 18.3.1.1, 18.3.1.4, 18.3.2).
 */
#include "guest.h"

#define MAKE_DR(n)                                                                              \
  INLINE u64 read_dr##n(void) { u64 v; asm volatile("mov %%dr" #n ",%0" : "=r"(v)); return v; } \
  INLINE void write_dr##n(u64 v) { asm volatile("mov %0,%%dr" #n ::"r"(v) : "memory"); }
MAKE_DR(0) MAKE_DR(1) MAKE_DR(6) MAKE_DR(7)

enum { DR6_NONE = 0xffff0ff0, BS = 1 << 14, RF = 1 << 16, MAX_HITS = 8 };
enum { CODE0 = 1 << 1, WATCH0 = 1 << 1 | 3 << 16 | 1 << 18, CODE1 = 1 << 3 };  // DR7: execute; 2 bytes, read or write

struct Hit { u64 vector, rip, cs, dr6, flags; };
static struct Hit hits[MAX_HITS];
static volatile unsigned count;
static u64 resume, stop_at;

// Notes every event, in order. Stepping ends where told; faults go on at `resume`.
static void note(struct Frame* f) {
  if (count < MAX_HITS) hits[count] = (struct Hit){f->vector, f->rip, f->cs, read_dr6(), f->rflags};
  ++count;
  if (f->vector == VEC_DB) {
    const u64 dr6 = read_dr6();
    write_dr6(0);
    if (dr6 & 3) f->rflags |= RF;
    if (f->rip == stop_at) f->rflags &= ~FLAG_TF;
  } else if (f->vector == VEC_UD || f->vector == VEC_GP) {
    f->rip = resume;
  }
}
static void expect(int line, unsigned n, unsigned vector, const void* rip, u64 cs, u64 dr6) {
  const struct Hit* h = &hits[n];
  if (n >= count || h->vector != vector || h->rip != (u64)rip || h->cs != cs || (vector == VEC_DB && h->dr6 != (DR6_NONE | dr6))) {
    put("hit ");
    put_hex(n);
    put(" of ");
    put_hex(count);
    put(": vector ");
    put_hex(h->vector);
    put(" rip ");
    put_hex(h->rip);
    put(" (");
    put_hex((u64)rip);
    put(") cs ");
    put_hex(h->cs);
    put(" dr6 ");
    put_hex(h->dr6);
    put("\n");
    failed(__FILE__, line, "hit", n, vector);
  }
}
#define HIT(n, vector, rip, cs, dr6) expect(__LINE__, n, vector, rip, cs, dr6)

static USER_DATA u16 kernel_ss = SEL_DATA, user_ss = SEL_UDATA;
static void watch(void* at) {
  count = 0;
  write_dr6(0);
  write_dr0((u64)at);
  write_dr7(WATCH0);
}
static void watch_off(void) { write_dr7(0); }

asm(".global syscall_entry\n syscall_entry: nop\n jmp *%rcx\n"
    ".global syscall_to_user\n syscall_to_user: nop\n sysretq");
extern u8 syscall_entry[], syscall_to_user[];

// A label behind the instruction that follows, of a name that the C code can use.
#define LABEL(l) "\n .global " #l "\n" #l ":\n"
extern u8 k_nop[], k_int3[], k_int[], k_icebp[], k_int1[], k_syscall[], k_pop[], k_twice[], k_fault[], k_next[];
extern u8 u_int3[], u_int[], u_icebp[], u_syscall[], u_nop[];
#define MOV_SS(insn, label) \
  asm volatile("mov %0,%%ss\n" insn LABEL(label) "nop" ::"m"(kernel_ss) : "rcx", "r11", "memory", "cc")

static void kernel_watched(void) {
  watch(&kernel_ss);
  MOV_SS("nop", k_nop);
  CHECK_EQ(count, 1);
  HIT(0, VEC_DB, k_nop, SEL_CODE64, 1);
  watch(&kernel_ss);
  MOV_SS("int3", k_int3);
  CHECK_EQ(count, 2);  // #DB before the first instruction of the handler of #BP
  HIT(0, VEC_DB, trap_stub(VEC_BP), SEL_CODE64, 1);
  HIT(1, VEC_BP, k_int3, SEL_CODE64, 0);
  CHECK_EQ(hits[0].flags & RF, 0);
  watch(&kernel_ss);
  MOV_SS("int $0x60", k_int);
  CHECK_EQ(count, 2);
  HIT(0, VEC_DB, trap_stub(0x60), SEL_CODE64, 1);
  HIT(1, 0x60, k_int, SEL_CODE64, 0);
  watch(&kernel_ss);
  MOV_SS(".byte 0xf1", k_icebp);
  CHECK_EQ(count, 1);  // one #DB for both
  HIT(0, VEC_DB, k_icebp, SEL_CODE64, 1);
  watch(&kernel_ss);
  MOV_SS("int $1", k_int1);
  CHECK_EQ(count, 2);  // no debug exception, this one: both
  HIT(0, VEC_DB, trap_stub(VEC_DB), SEL_CODE64, 1);
  HIT(1, VEC_DB, k_int1, SEL_CODE64, 0);
  wrmsr(MSR_LSTAR, (u64)syscall_entry);
  watch(&kernel_ss);
  MOV_SS("syscall", k_syscall);
  CHECK_EQ(count, 1);
  HIT(0, VEC_DB, syscall_entry, SEL_CODE64, 1);
  watch((u8*)&kernel_ss + 2);  // beside it
  MOV_SS("nop", k_next);
  CHECK_EQ(count, 0);
  // POP SS does not exist in 64-bit code; MOV SS twice: the second holds nothing off
  watch(&kernel_ss);
  asm volatile("mov %0,%%ss\n mov %0,%%ss" LABEL(k_twice) "nop" ::"m"(kernel_ss));
  CHECK_EQ(count, 1);
  HIT(0, VEC_DB, k_twice, SEL_CODE64, 1);
  watch_off();
}

// An instruction breakpoint behind MOV SS is lost; one on the handler's first instruction is not.
static void code_breakpoints(void) {
  count = 0;
  write_dr1((u64)k_int3 - 1);
  write_dr7(CODE1);
  MOV_SS("int3", k_fault);
  CHECK_EQ(count, 1);
  HIT(0, VEC_BP, k_fault, SEL_CODE64, 0);
  count = 0;
  write_dr1((u64)k_fault - 1);
  MOV_SS("int3", k_pop);
  CHECK_EQ(count, 1);
  HIT(0, VEC_BP, k_pop, SEL_CODE64, 0);
  count = 0;
  write_dr1((u64)trap_stub(VEC_BP));
  asm volatile("int3");
  CHECK_EQ(count, 2);
  CHECK_EQ(hits[0].vector, VEC_DB);
  CHECK_EQ(hits[0].dr6, DR6_NONE | 2);
  CHECK_EQ(hits[0].rip, (u64)trap_stub(VEC_BP));
  write_dr7(0);
}

// ---- CPL 3 ---------------------------------------------------------------------------------------------
#define USER_CASE(name, insn, label)                                                             \
  USER static u64 name(u64 unused) {                                                             \
    asm volatile("mov %0,%%ss\n" insn LABEL(label) "nop" ::"m"(user_ss) : "rcx", "r11", "memory", "cc"); \
    return unused;                                                                               \
  }
USER_CASE(user_nop, "nop", u_nop)
USER_CASE(user_int3, "int3", u_int3)
USER_CASE(user_int, "int $0x60", u_int)
USER_CASE(user_icebp, ".byte 0xf1", u_icebp)
USER_CASE(user_syscall, "syscall", u_syscall)

static void user_watched(void) {
  watch(&user_ss);
  CHECK_EQ(try_user(user_nop, 0).vector, VEC_USER_END);
  CHECK_EQ(count, 1);
  HIT(0, VEC_DB, u_nop, SEL_UCODE64, 1);
  watch(&user_ss);
  CHECK_EQ(try_user(user_int3, 0).vector, VEC_USER_END);
  CHECK_EQ(count, 2);
  HIT(0, VEC_DB, trap_stub(VEC_BP), SEL_CODE64, 1);
  HIT(1, VEC_BP, u_int3, SEL_UCODE64, 0);
  watch(&user_ss);
  CHECK_EQ(try_user(user_int, 0).vector, VEC_USER_END);
  CHECK_EQ(count, 2);
  HIT(0, VEC_DB, trap_stub(0x60), SEL_CODE64, 1);
  HIT(1, 0x60, u_int, SEL_UCODE64, 0);
  watch(&user_ss);
  CHECK_EQ(try_user(user_icebp, 0).vector, VEC_USER_END);
  CHECK_EQ(count, 1);
  HIT(0, VEC_DB, u_icebp, SEL_UCODE64, 1);
  wrmsr(MSR_LSTAR, (u64)syscall_to_user);
  watch(&user_ss);
  CHECK_EQ(try_user(user_syscall, 0).vector, VEC_USER_END);
  CHECK_EQ(count, 1);
  HIT(0, VEC_DB, syscall_to_user, SEL_CODE64, 1);
  watch_off();
}

// ---- single step ---------------------------------------------------------------------------------------
extern u8 t_nop[], t_int3[], t_icebp[], t_icebp2[], t_syscall[], t_sti[], t_end[], t_gd[];
#define STEP_ON "pushf; orq $0x100,(%%rsp); popf\n"
#define STEP_OFF "pushf; andq $~0x100,(%%rsp); popf\n"
static void stepped(void) {
  count = 0;
  write_dr6(0);
  stop_at = (u64)t_nop;
  asm volatile(STEP_ON "mov %0,%%ss\n nop" LABEL(t_nop) "nop" ::"r"(SEL_DATA) : "cc", "memory");
  CHECK_EQ(count, 1);
  HIT(0, VEC_DB, t_nop, SEL_CODE64, BS);
  // ICEBP tells no single step, neither behind MOV SS nor elsewhere
  count = 0;
  stop_at = (u64)t_icebp2;
  asm volatile(STEP_ON "mov %0,%%ss\n .byte 0xf1" LABEL(t_icebp) ".byte 0xf1" LABEL(t_icebp2) "nop" ::"r"(SEL_DATA)
               : "cc", "memory");
  CHECK_EQ(count, 2);
  HIT(0, VEC_DB, t_icebp, SEL_CODE64, 0);
  HIT(1, VEC_DB, t_icebp2, SEL_CODE64, 0);
  // INT3 takes TF away before its handler runs
  count = 0;
  stop_at = 0;
  asm volatile(STEP_ON "mov %0,%%ss\n int3" LABEL(t_int3) STEP_OFF ::"r"(SEL_DATA) : "cc", "memory");
  HIT(0, VEC_BP, t_int3, SEL_CODE64, 0);
  CHECK_EQ(hits[0].flags & FLAG_TF, FLAG_TF);
  // general detect is a fault, which MOV SS does not hold off
  count = 0;
  stop_at = (u64)t_gd + 4;
  write_dr7(1 << 13);
  asm volatile("xor %%eax,%%eax\n" STEP_ON "mov %0,%%ss" LABEL(t_gd) "mov %%rax,%%dr6\n nop\n nop" ::"r"(SEL_DATA)
               : "rax", "cc", "memory");
  CHECK_EQ(count, 3);
  HIT(0, VEC_DB, t_gd, SEL_CODE64, 1 << 13);
  HIT(1, VEC_DB, t_gd + 3, SEL_CODE64, BS);
  HIT(2, VEC_DB, t_gd + 4, SEL_CODE64, BS);
  // STI holds no debug exception off
  count = 0;
  stop_at = (u64)t_sti + 1;
  cli();
  asm volatile(STEP_ON "sti" LABEL(t_sti) "nop\n nop\n cli" ::: "cc", "memory");
  CHECK_EQ(count, 2);
  HIT(0, VEC_DB, t_sti, SEL_CODE64, BS);
  HIT(1, VEC_DB, t_sti + 1, SEL_CODE64, BS);
  count = 0;
  stop_at = 0;
  write_dr0((u64)t_end);
  write_dr7(CODE0);
  asm volatile("sti" LABEL(t_end) "nop\n cli" ::: "memory");
  CHECK_EQ(count, 1);
  HIT(0, VEC_DB, t_end, SEL_CODE64, 1);
  write_dr7(0);
}

// ---- RF as it is pushed --------------------------------------------------------------------------------
extern u8 r_ud[], r_gp[], r_irq[], r_rep[];
static void resume_flag(void) {
  count = 0;
  resume = (u64)r_ud + 2;
  asm volatile(LABEL(r_ud) "ud2");
  resume = (u64)r_gp + 2;
  asm volatile(LABEL(r_gp) "mov %0,%%ss" ::"r"(0x1000));
  CHECK_EQ(count, 2);
  HIT(0, VEC_UD, r_ud, SEL_CODE64, 0);
  HIT(1, VEC_GP, r_gp, SEL_CODE64, 0);
  CHECK_EQ(hits[0].flags & RF, RF);
  CHECK_EQ(hits[1].flags & RF, RF);
  count = 0;
  send_interrupt(0, 0x60);
  asm volatile("sti\n nop\n nop\n cli" ::: "memory");
  CHECK_EQ(count, 1);
  CHECK_EQ(hits[0].flags & RF, 0);
}

void test(void) {
  cli();
  static const unsigned noted[] = {VEC_DB, VEC_BP, VEC_UD, VEC_GP, 0x60};
  for (unsigned n = 0; n < sizeof noted / sizeof noted[0]; ++n) set_handler(noted[n], note);
  set_gate(0x60, trap_stub(0x60), 0, 3);
  wrmsr(MSR_STAR, (u64)SEL_CODE64 << 32 | (u64)SEL_UCODE32 << 48);
  wrmsr(MSR_SFMASK, 0);
  kernel_watched();
  code_breakpoints();
  user_watched();
  stepped();
  resume_flag();
}
