/* What kernels do on each entry and around each lock, many times over, so that a translator takes its short
 * ways: PUSHF, CLI, STI, STAC, CLAC, SWAPGS, RDTSC, RDTSCP; and the same code with fewer rights (SDM vol. 2;
 * vol. 3, 4.6 for RFLAGS.AC, 6.8.3 for what STI holds off). */
#include "guest.h"

#define VA FREE_VA
static volatile u64 count, last_rip;
static void on_interrupt(struct Frame* f) {
  ++count;
  last_rip = f->rip;
}

USER static u64 do_cli(u64 a) { asm volatile("cli" ::: "memory"); return a; }
USER static u64 do_sti(u64 a) { asm volatile("sti; nop; cli" ::: "memory"); return a; }
USER static u64 do_stac(u64 a) { asm volatile("stac; clac" ::: "memory"); return a; }
USER static u64 do_swapgs(u64 a) { asm volatile("swapgs; swapgs" ::: "memory"); return a; }
USER static u64 do_rdtsc(u64 a) { (void)a; return rdtsc(); }
USER static u64 do_rdtscp(u64 a) {
  (void)a;
  u32 low, high, aux;
  asm volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(aux));
  return aux;
}
USER static u64 push_flags(u64 stack) {
  u64 v;
  asm volatile("mov %%rsp,%%r12\n mov %1,%%rsp\n stc\n pushfq\n pop %0\n mov %%r12,%%rsp"
               : "=&r"(v) : "b"(stack) : "r12", "memory", "cc");
  return v;
}

static void flags_of_all_kinds(void) {
  for (unsigned n = 0; n < 64; ++n) {
    const u64 wanted = (n & 1) | (n & 2 ? 4 : 0) | (n & 4 ? 0x10 : 0) | (n & 8 ? 0x40 : 0) |
                       (n & 16 ? 0x80 : 0) | (n & 32 ? 0x800 : 0) | (n % 3 ? 0 : 0x400);
    u64 got;
    asm volatile("push %1; popfq; pushfq; pop %0; cld" : "=r"(got) : "r"(wanted | 2) : "memory", "cc");
    CHECK_EQ(got, wanted | 2);
    u8 carry;
    asm volatile("add %2,%2; pushfq; setc %1; pop %0" : "=r"(got), "=q"(carry) : "r"((u64)n << 58) : "cc");
    CHECK_EQ(got & 1, carry);
    CHECK_EQ(carry, n >> 5 & 1);
  }
}

/* The same code at CPL 0, where it is allowed, and at CPL 3. */
static void rights(void) {
  set_rflags(2);
  for (int i = 0; i < 40; ++i) {
    CHECK_EQ(do_cli(3), 3);
    CHECK_EQ(try_user(do_cli, 3).vector, VEC_GP);
    CHECK_EQ(do_sti(3), 3);
    CHECK_EQ(try_user(do_sti, 3).vector, VEC_GP);
    CHECK_EQ(do_stac(3), 3);
    CHECK_EQ(try_user(do_stac, 3).vector, VEC_UD);
    CHECK_EQ(do_swapgs(3), 3);
    CHECK_EQ(try_user(do_swapgs, 3).vector, VEC_GP);
    const u64 before = do_rdtsc(0);
    CHECK_EQ(try_user(do_rdtsc, 0).vector, VEC_USER_END);
    CHECK_EQ(try_user(do_rdtscp, 0).rax, 0x1234);
    write_cr4(read_cr4() | 4);  // TSD
    CHECK_EQ(try_user(do_rdtsc, 0).vector, VEC_GP);
    CHECK_EQ(try_user(do_rdtscp, 0).vector, VEC_GP);
    CHECK(do_rdtsc(0) > before);
    write_cr4(read_cr4() & ~4ull);
  }
}

static void gs_bases(void) {
  wrmsr(0xc0000101, 0x1111000);
  wrmsr(0xc0000102, 0x2222000);
  for (int i = 0; i < 40; ++i) {
    asm volatile("swapgs" ::: "memory");
    CHECK_EQ(rdmsr(0xc0000101), i & 1 ? 0x1111000 : 0x2222000);
    CHECK_EQ(rdmsr(0xc0000102), i & 1 ? 0x2222000 : 0x1111000);
  }
}

/* Two reads from one page: the second after CLAC, in the same straight line. */
static NOINLINE void read_twice(u64 a) {
  asm volatile("stac\n movq (%0),%%rax\n clac\n movq 8(%0),%%rcx" ::"b"(a) : "rax", "rcx", "memory");
}
static NOINLINE void read_allowed(u64 a) {
  asm volatile("stac\n movq (%0),%%rax\n movq 8(%0),%%rcx\n clac" ::"b"(a) : "rax", "rcx", "memory");
}
static void smap(void) {
  map_page(VA, free_page(), PTE_P | PTE_W | PTE_U, 1);
  write_cr4(read_cr4() | CR4_SMAP);
  for (int i = 0; i < 40; ++i) {
    CHECK_EQ(try_call(read_allowed, VA).vector, NO_TRAP);
    const struct Trap t = try_call(read_twice, VA);
    CHECK_EQ(t.vector, VEC_PF);
    CHECK_EQ(t.cr2, VA + 8);
    CHECK_EQ(t.error, PF_P);
  }
  write_cr4(read_cr4() & ~CR4_SMAP);
  for (int i = 0; i < 40; ++i) CHECK_EQ(try_call(read_twice, VA).vector, NO_TRAP);
}

static void stacks(void) {
  for (int i = 0; i < 40; ++i) {
    CHECK_EQ(try_user(push_flags, VA + 64 + 8 * (i % 4)).rax & 1, 1);
    const struct Trap t = try_user(push_flags, VA + 8192);
    CHECK_EQ(t.vector, VEC_PF);
    CHECK_EQ(t.cr2, VA + 8192 - 8);
    CHECK_EQ(t.error, PF_U | PF_W);
  }
}

/* An interrupt waits: it comes after the instruction behind STI, whatever that is. */
static void shadow(void) {
  set_handler(0x40, on_interrupt);
  for (int i = 1; i <= 40; ++i) {
    u64 after;
    cli();
    count = 0;
    send_interrupt(0, 0x40);
    for (int k = 0; k < 10; ++k) pause();
    CHECK_EQ(count, 0);
    switch (i % 4) {
      case 0: asm volatile("lea 1f(%%rip),%0; sti; nop; 1: nop; cli" : "=r"(after)::"memory"); break;
      case 1:
        asm volatile("lea 1f(%%rip),%0; call 2f; 1: nop; cli; jmp 3f; 2: sti; ret; 3:" : "=r"(after)::"memory");
        break;
      case 2: asm volatile("lea 1f(%%rip),%0; sti; jmp 1f; nop; 1: nop; cli" : "=r"(after)::"memory"); break;
      default:
        asm volatile("lea 1f(%%rip),%0; sti; jmp *%0; nop; 1: nop; cli" : "=r"(after)::"memory");
        break;
    }
    CHECK_EQ(count, 1);
    CHECK_EQ(last_rip, after);
    send_interrupt(0, 0x40);
    asm volatile("sti; cli" ::: "memory");
    CHECK_EQ(count, 1);
    asm volatile("sti; hlt; cli" ::: "memory");
    CHECK_EQ(count, 2);
  }
  // none waits when interrupts are enabled: it comes soon after
  for (int i = 0; i < 40; ++i) {
    count = 0;
    sti();
    send_interrupt(0, 0x40);
    while (!count) pause();
    cli();
  }
}

void test(void) {
  cli();
  wrmsr(0xc0000103, 0x1234);
  flags_of_all_kinds();
  rights();
  gs_bases();
  smap();
  stacks();
  shadow();
}
