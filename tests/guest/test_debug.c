/* Debug facilities in 64-bit mode: code, data and I/O breakpoints, RF, general detect, single step
 * with its exceptions, ICEBP, DR6 and DR7's fixed bits (SDM vol. 3, ch. 18).
 */
#include "guest.h"

#define MAKE_DR(n)                                                                              \
  INLINE u64 read_dr##n(void) { u64 v; asm volatile("mov %%dr" #n ",%0" : "=r"(v)); return v; } \
  INLINE void write_dr##n(u64 v) { asm volatile("mov %0,%%dr" #n ::"r"(v) : "memory"); }
MAKE_DR(0) MAKE_DR(1) MAKE_DR(2) MAKE_DR(3) MAKE_DR(6) MAKE_DR(7)

enum { EXECUTE = 0, WRITE = 1, PORT = 2, ACCESS = 3, LEN1 = 0, LEN2 = 4, LEN8 = 8, LEN4 = 12 };
enum { DR6_NONE = 0xffff0ff0, BD = 1 << 13, BS = 1 << 14, RF = 1 << 16, MAX_HITS = 16 };
static u64 dr7_of(unsigned n, unsigned kind) { return 2ull << 2 * n | (u64)kind << (16 + 4 * n); }

static volatile struct {
  u64 rip, dr6, flags;
} hits[MAX_HITS];
static volatile unsigned count;
static u64 stop_stepping_at;

// Notes the #DB. Sets RF, so that code breakpoints go on, and ends single stepping where told.
static void on_debug(struct Frame* f) {
  if (count < MAX_HITS) {
    hits[count].rip = f->rip;
    hits[count].dr6 = read_dr6();
    hits[count].flags = f->rflags;
  }
  ++count;
  write_dr6(0);
  if (!(hits[count - 1].dr6 & BS)) f->rflags |= RF;
  if (f->rip == stop_stepping_at) f->rflags &= ~FLAG_TF;
}
static void reset(void) {
  count = 0;
  write_dr6(0);
}
#define CHECK_HIT(n, at, bits)             \
  do {                                     \
    CHECK_EQ(hits[n].rip, (u64)(at));      \
    CHECK_EQ(hits[n].dr6, DR6_NONE | (bits)); \
  } while (0)
extern u8 l0[], l1[], l2[], l3[], l4[], l5[], l6[], l7[], l8[], l9[];
#define LABEL(l) ".global " #l "\n" #l ":"

static void registers(void) {
  write_dr6(0);
  CHECK_EQ(read_dr6(), 0xffff0ff0);
  write_dr6(0xffffffff);
  CHECK_EQ(read_dr6(), 0xffffefff);
  write_dr6(0);
  write_dr7(0xffffffff & ~(1ull << 13 | 0xff));
  CHECK_EQ(read_dr7(), 0xffff0700);
  write_dr7(0);
  CHECK_EQ(read_dr7(), 0x400);
  write_dr3(0x123456789abcdef0);
  CHECK_EQ(read_dr3(), 0x123456789abcdef0);
}
static void dr7_high(u64 v) { write_dr7(v); }
static void dr4(u64 unused) { (void)unused; asm volatile("mov %%dr4,%%rax" ::: "rax"); }

static void code_breakpoint(void) {
  reset();
  write_dr0((u64)l0);
  write_dr7(dr7_of(0, EXECUTE));
  u64 v = 0;
  asm volatile("inc %0\n" LABEL(l0) "inc %0\n inc %0" : "+r"(v));
  CHECK_EQ(v, 3);
  CHECK_EQ(count, 1);
  CHECK_HIT(0, l0, 1);
  CHECK_EQ(hits[0].flags & RF, 0);
  // a repeated string instruction breaks once
  reset();
  write_dr0((u64)l1);
  u8 buffer[8];
  void* to = buffer;
  u64 n = sizeof buffer;
  asm volatile(LABEL(l1) "rep stosb" : "+D"(to), "+c"(n) : "a"(0) : "memory");
  CHECK_EQ(count, 1);
  CHECK_EQ(n, 0);
  // MOV SS holds it off
  reset();
  write_dr0((u64)l2);
  asm volatile("mov %0,%%ss\n" LABEL(l2) "nop" ::"r"(SEL_DATA));
  CHECK_EQ(count, 0);
  // RF set by IRET lets one instruction pass
  write_dr0((u64)l3);
  asm volatile(
      "mov %%rsp,%%rax; pushq %0; push %%rax; pushf; orq $0x10000,(%%rsp); pushq %1;"
      "lea l3(%%rip),%%rax; push %%rax; iretq\n" LABEL(l3) "nop" ::"i"(SEL_DATA), "i"(SEL_CODE64)
      : "rax", "memory", "cc");
  CHECK_EQ(count, 0);
  write_dr7(0);
}

static void touch(volatile u8* at, unsigned size, int writing) {
  switch (size) {
    case 1: if (writing) *at = 1; else (void)*at; break;
    case 2: if (writing) *(volatile u16*)at = 1; else (void)*(volatile u16*)at; break;
    case 4: if (writing) *(volatile u32*)at = 1; else (void)*(volatile u32*)at; break;
    default: if (writing) *(volatile u64*)at = 1; else (void)*(volatile u64*)at; break;
  }
}

static void data_breakpoints(void) {
  static u8 area[64] __attribute__((aligned(64)));
  static const struct {
    u8 length, bytes;
  } lengths[] = {{LEN1, 1}, {LEN2, 2}, {LEN4, 4}, {LEN8, 8}};
  for (unsigned l = 0; l < 4; ++l)
    for (unsigned size = 1; size <= 8; size *= 2)
      for (int at = 0; at < 40; ++at)
        for (unsigned mode = 0; mode < 4; ++mode) {
          const int writing = mode & 1, both = mode & 2;
          reset();
          write_dr1((u64)area + 19);  // not aligned: the low bits are ignored
          write_dr7(dr7_of(1, lengths[l].length | (both ? ACCESS : WRITE)));
          touch(area + at, size, writing);
          write_dr7(0);
          const int start = 19 & -lengths[l].bytes;
          const int meets = at < start + lengths[l].bytes && start < at + (int)size;
          CHECK_EQ(count, meets && (writing || both));
          if (count) CHECK_EQ(hits[0].dr6, DR6_NONE | 2);
        }
  // two at once; read-modify-write, locked, push, string; a trap: the next instruction
  reset();
  write_dr0((u64)area);
  write_dr1((u64)area + 1);
  write_dr7(dr7_of(0, ACCESS | LEN1) | dr7_of(1, WRITE | LEN1));
  asm volatile("incw %0\n" LABEL(l4) "lock incw %0\n" LABEL(l5) "nop" : "+m"(*(u16*)area));
  CHECK_EQ(count, 2);
  CHECK_HIT(0, l4, 3);
  CHECK_HIT(1, l5, 3);
  CHECK_EQ(hits[0].flags & RF, 0);
  // MOV SS from watched memory: one instruction later
  reset();
  *(volatile u16*)area = SEL_DATA;
  reset();
  asm volatile("mov %0,%%ss\n nop\n" LABEL(l6) "nop" ::"m"(*(volatile u16*)area));
  CHECK_EQ(count, 1);
  CHECK_HIT(0, l6, 1);
  write_dr7(0);
}

static void faulting(u64 a) { asm volatile("movsb" ::"S"(a), "D"(FREE_VA) : "memory"); }

static void ports(void) {
  reset();
  write_cr4(read_cr4() | 8);
  CHECK_EQ(try_call(dr4, 0).vector, VEC_UD);
  write_dr2(LATCH_DONE + 2);
  write_dr7(dr7_of(2, PORT | LEN2));
  outb(LATCH_DONE, 1);
  outw(LATCH_DONE, 1);
  CHECK_EQ(count, 0);
  outl(LATCH_DONE, 1);
  CHECK_EQ(count, 1);
  CHECK_EQ(hits[0].dr6, DR6_NONE | 4);
  inb(LATCH_DONE + 3);
  CHECK_EQ(count, 2);
  write_dr2(LATCH_EXIT);  // done outside of run(): it must not be seen twice
  inb(LATCH_EXIT + 1);
  CHECK_EQ(count, 3);
  write_cr4(read_cr4() & ~8ull);
  inb(LATCH_EXIT + 1);
  CHECK_EQ(count, 3);
  CHECK_EQ(try_call(dr4, 0).vector, NO_TRAP);
  write_dr7(0);
}

static void general_detect(void) {
  reset();
  write_dr7(1 << 13);
  asm volatile(LABEL(l7) "mov %%dr0,%%rax" ::: "rax");  // GD is off in the handler and after
  CHECK_EQ(count, 1);
  CHECK_HIT(0, l7, BD);
  CHECK_EQ(hits[0].flags & RF, RF);
  CHECK_EQ(read_dr7(), 0x400);
}

extern u8 s0[], s1[], s2[], s3[], s4[], s5[], s6[], s7[], s8[], end_step[];
extern u64 step_flags;
u64 step_flags;
static void int_handler(struct Frame* f) { (void)f; }

static void single_step(void) {
  reset();
  set_handler(0x81, int_handler);
  stop_stepping_at = (u64)end_step;
  u8 buffer[4];
  asm volatile(
      "pushf; orq $0x100,(%%rsp); popf\n"
      "nop\n" LABEL(s0)
      "mov %[ss],%%ss\n nop\n" LABEL(s1)          // no trap between
      "int $0x81\n nop\n" LABEL(s2)               // no trap in or right after the handler's entry
      "mov $2,%%ecx; lea %[buf],%%rdi\n" LABEL(s3)
      "rep stosb\n" LABEL(s4)
      "pushf; pop %[flags]\n nop\n" LABEL(end_step) "nop"
      : [buf] "=m"(buffer), [flags] "=m"(step_flags)
      : [ss] "r"(SEL_DATA)
      : "rcx", "rdi", "memory", "cc");
  stop_stepping_at = 0;
  CHECK(count >= 9);
  CHECK_HIT(0, s0, BS);
  CHECK_HIT(1, s1, BS);
  CHECK(hits[2].rip > (u64)s1 && hits[2].rip <= (u64)s2);
  unsigned n = 2;
  while (hits[n].rip != (u64)s3) CHECK(++n < MAX_HITS);
  CHECK_HIT(n + 1, s3, BS);  // after the first iteration
  CHECK_EQ(hits[n + 1].flags & RF, RF);
  CHECK_HIT(n + 2, s4, BS);
  CHECK_EQ(hits[n + 2].flags & RF, 0);
  CHECK_EQ(step_flags & FLAG_TF, FLAG_TF);
  CHECK_EQ(hits[count - 1].rip, (u64)end_step);
}

asm(".global syscall_entry\n syscall_entry: nop\n jmp *%rcx");
extern u8 syscall_entry[];

static void step_syscall(void) {
  wrmsr(MSR_STAR, (u64)SEL_CODE64 << 32);
  wrmsr(MSR_LSTAR, (u64)syscall_entry);
  for (unsigned keep = 0; keep < 2; ++keep) {
    reset();
    wrmsr(MSR_SFMASK, keep ? 0 : FLAG_TF);
    stop_stepping_at = keep ? (u64)syscall_entry : 0;
    asm volatile("pushf; orq $0x100,(%%rsp); popf; syscall" ::: "rcx", "r11", "memory", "cc");
    CHECK_EQ(count, keep);
    if (keep) CHECK_HIT(0, syscall_entry, BS);
  }
  stop_stepping_at = 0;
}

void test(void) {
  registers();
  CHECK_EQ(try_call(dr7_high, 1ull << 32).vector, VEC_GP);
  set_handler(VEC_DB, on_debug);
  code_breakpoint();
  static u8 source;
  reset();
  write_dr0((u64)&source);
  write_dr7(dr7_of(0, ACCESS | LEN1));
  CHECK_EQ(try_call(faulting, (u64)&source).vector, VEC_PF);
  CHECK_EQ(count, 0);
  write_dr7(0);
  data_breakpoints();
  ports();
  general_detect();
  single_step();
  step_syscall();
  // ICEBP: #DB whatever the gate's DPL, DR6 as it was
  reset();
  write_dr6(0x4000);
  asm volatile(".byte 0xf1\n" LABEL(l9));
  CHECK_EQ(count, 1);
  CHECK_HIT(0, l9, BS);
}
