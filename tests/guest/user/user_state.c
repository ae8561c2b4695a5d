/* All registers of two tasks, general, flags, bases, x87, vectors and masks, live through interrupts from another
 * CPU, system calls and switches between the tasks (XSAVE and XRSTOR by the kernel), with stacks that cannot be
 * used and red zones that must not be.
 * @vcpus 2
 * @seconds 100
 */
#include "service.h"

struct Block {  // offsets known to state.S
  u64 gpr[16], flags, stack;
  u32 mxcsr;
  u16 fcw, fsw;
  u64 filler;
  u8 x87[8][16];
  u64 masks[8], filler2[4];
  u8 vectors[32][64];
} __attribute__((aligned(64)));
static USER_DATA struct Block values[2], found[2];
static USER_DATA volatile u64 width;  // of a vector register: 16, 32, 64
enum { CALL_MORE = CALL_OTHER, CALL_PLAIN, INTERRUPT = 0x40, INTERRUPTS = 50 };

void hold_16(void), hold_32(void), hold_64(void), call_16(void), call_32(void), call_64(void);
extern u8 call_16_after[], call_32_after[], call_64_after[];

// ---- user code -------------------------------------------------------------------------------------------------
USER static void fill(struct Block* b, u64* seed) {
  for (u64* p = (u64*)b; p < (u64*)(b + 1); ++p) *p = next_random(seed);
  enum { CHANGEABLE = 0xcd5 | 1 << 14 | 1 << 18 | 1 << 21 };  // CF PF AF ZF SF DF OF, NT, AC, ID
  b->flags = (next_random(seed) & CHANGEABLE) | 2;
  b->mxcsr = 0x1f80 | (u32)(next_random(seed) & 0xe07f);
  b->fcw = (u16)(0x7f | (next_random(seed) & 0xc00) | 0x300);
  for (u64 n = 0; n < 8; ++n) b->x87[n][7] |= 0x80, b->x87[n][9] = (u8)(0x3f + n);
  if (b->flags & 1) b->gpr[4] = next_random(seed) & 7;  // RSP: near nothing
  b->gpr[1] = 1 + (next_random(seed) & 2047);
}
USER static void same(const char* what, const void* got, const void* wanted, u64 bytes) {
  const u64 *g = got, *w = wanted;
  for (u64 n = 0; n < bytes / 8; ++n) USER_EQ(what, g[n], w[n]);
}
USER static void compare(const struct Block* b, const struct Block* f, u64 after) {
  for (u64 n = 0; n < 16; ++n) {
    if (!after) USER_EQ("general register", f->gpr[n], n == 1 ? 0 : b->gpr[n]);
    else if (n == 1) USER_EQ("RCX", f->gpr[n], after);
    else if (n == 11) USER_EQ("R11", f->gpr[n], b->flags | 0x200);
    else USER_EQ("general register", f->gpr[n], n == 0 ? ~b->gpr[7] : b->gpr[n]);
  }
  USER_EQ("flags", f->flags, b->flags | 0x200);
  USER_EQ("MXCSR", f->mxcsr, b->mxcsr);
  USER_EQ("FCW", f->fcw, b->fcw);
  USER_EQ("FSW", f->fsw & 0x7fff, 0);
  for (u64 n = 0; n < 8; ++n) {
    same("x87", f->x87[n], b->x87[n], 8);
    USER_EQ("x87 exponent", *(u16*)(f->x87[n] + 8), *(u16*)(b->x87[n] + 8));
  }
  const u64 w = width;
  for (u64 n = 0; n < (w == 64 ? 32u : 16u); ++n) same("vector", f->vectors[n], b->vectors[n], w);
  if (w == 64)
    for (u64 n = 0; n < 8; ++n) USER_EQ("mask", *(u16*)&f->masks[n], *(u16*)&b->masks[n]);
}
USER static u64 task(u64 number) {
  u64 seed = 77 + number, bytes = 0;
  struct Block *b = &values[number], *f = &found[number];
  asm volatile("wrfsbase %0; wrgsbase %1" ::"r"(b), "r"(f));
  do {
    fill(b, &seed);
    pause();
    const int call = bytes++ % 4 == 3;
    u64 after = 0;
    if (call) {
      b->gpr[0] = CALL_PLAIN;
      after = (u64)(width == 64 ? call_64_after : width == 32 ? call_32_after : call_16_after);
      if (width == 64) call_64();
      else if (width == 32) call_32();
      else call_16();
    } else if (width == 64) {
      hold_64();
    } else if (width == 32) {
      hold_32();
    } else {
      hold_16();
    }
    compare(b, f, after);
    u64 fs, gs;
    asm volatile("rdfsbase %0; rdgsbase %1" : "=r"(fs), "=r"(gs));
    USER_EQ("FS base", fs, b);
    USER_EQ("GS base", gs, f);
  } while (sys(CALL_MORE, 0, 0));
  return bytes;
}

// Below the stack pointer nothing changes, however far.
USER static u64 red_zone(u64 unused) {
  u64 top;
  asm volatile("mov %%rsp,%0" : "=r"(top));
  u64 pattern = 1, bottom = top - 0x3000;
  do {
    u64 n = (top - 256 - bottom) / 8;
    volatile u64* p = (volatile u64*)bottom;
    for (u64 k = 0; k < n; ++k) p[k] = pattern + k;
    u64 spin = 3000;
    asm volatile("1: dec %0; jnz 1b" : "+r"(spin)::"cc");
    for (u64 k = 0; k < n; ++k) USER_EQ("below the stack", p[k], pattern + k);
    ++pattern;
    pause();
  } while (sys(CALL_MORE, 0, 0));
  return unused;
}

// 32-bit code and back, with all that comes in between.
asm(".pushsection .user.text,\"ax\"\n"
    "compat_spin:\n"  // eax: turns; comes back to 64-bit mode
    "  push %rbx\n"
    "  mov %eax, %ecx\n"
    "  xor %eax, %eax\n"
    "  push $0x23\n"
    "  push $1f\n"
    "  lretq\n"
    "  .code32\n"
    "1: inc %eax\n"
    "  mov %cs, %ebx\n"
    "  dec %ecx\n"
    "  jnz 1b\n"
    "  ljmp $0x33, $2f\n"
    "  .code64\n"
    "2: shl $32, %rbx\n"
    "  or %rbx, %rax\n"
    "  pop %rbx\n"
    "  ret\n"
    // IRETQ to itself: rdi is the flags
    "user_iret:\n"
    "  mov %rsp, %rax\n"
    "  push $0x2b\n"
    "  push %rax\n"
    "  push %rdi\n"
    "  push $0x33\n"
    "  lea 3f(%rip), %rax\n"
    "  push %rax\n"
    "  iretq\n"
    "3: pushfq\n"
    "  pop %rax\n"
    "  push $2\n"
    "  popfq\n"
    "  ret\n"
    ".popsection");
u64 user_iret(u64 flags);
USER static u64 segments(u64 unused) {
  u64 turns = 100;
  do {
    u64 v;
    pause();
    asm volatile("call compat_spin" : "=a"(v) : "a"(turns) : "rcx", "memory", "cc");
    USER_EQ("compatibility mode", v, turns | 0x2300000000);
    turns = turns % 1000 + 50;
    u32 ds, es, fs, gs, cs, ss;
    asm volatile("mov %0,%%ds; mov %0,%%es; mov %0,%%fs; mov %0,%%gs" ::"r"(0x2b) : "memory");
    u64 spin = 500;
    asm volatile("1: dec %0; jnz 1b" : "+r"(spin)::"cc");
    asm volatile("mov %%ds,%0; mov %%es,%1; mov %%fs,%2; mov %%gs,%3" : "=r"(ds), "=r"(es), "=r"(fs), "=r"(gs));
    asm volatile("mov %%cs,%0; mov %%ss,%1" : "=r"(cs), "=r"(ss));
    USER_EQ("DS", ds, 0x2b);
    USER_EQ("ES", es, 0x2b);
    USER_EQ("FS", fs, 0x2b);
    USER_EQ("GS", gs, 0x2b);
    USER_EQ("CS", cs, 0x33);
    USER_EQ("SS", ss, 0x2b);
    u64 base;
    asm volatile("rdfsbase %0" : "=r"(base));
    USER_EQ("base of FS", base, 0);
    asm volatile("mov %0,%%ds; mov %0,%%es; mov %0,%%fs; mov %0,%%gs" ::"r"(0) : "memory");
    asm volatile("mov %%ds,%0; mov %%es,%1; mov %%fs,%2; mov %%gs,%3" : "=r"(ds), "=r"(es), "=r"(fs), "=r"(gs));
    USER_EQ("null selectors", ds | es | fs | gs, 0);
    asm volatile("wrgsbase %0" ::"r"(0x123456789000 + turns));
    spin = 500;
    asm volatile("1: dec %0; jnz 1b" : "+r"(spin)::"cc");
    asm volatile("rdgsbase %0" : "=r"(base));
    USER_EQ("base of GS", base, 0x123456789000 + turns);
    const u64 flags = (turns & 1) | (turns & 2 ? 0x40 : 0) | (turns & 4 ? 0x400 : 0) | (turns & 8 ? 1 << 21 : 0) | 0x202;
    USER_EQ("IRETQ to itself", user_iret(flags), flags);
    USER_EQ("IRETQ without rights over IF", user_iret(flags & ~0x200ull), flags);
    USER_EQ("nor IOPL", user_iret(flags | 0x3000), flags);
  } while (sys(CALL_MORE, 0, 0));
  return unused;
}

// ---- the kernel ----------------------------------------------------------------------------------------------------
struct Task {
  struct User u;
  u64 fs, gs, cr3, done, steps;  // bases
  u16 selectors[4];
  u8 area[4096] __attribute__((aligned(64)));
};
static struct Task tasks[2];
static volatile u64 interrupts, stop, limit;
static u64 xcr0;

// So many and no more: memory may be so slow that user code would never come to do anything.
static void interrupter(void) {
  for (u64 seed = 5;;) {
    const u64 n = interrupts;
    if (stop || n >= limit) {
      pause();
      continue;
    }
    for (u64 wait = next_random(&seed) & 0x7ff; wait; --wait) asm volatile("");
    send_interrupt(0, INTERRUPT);
    while (interrupts == n && !stop) pause();
  }
}
static void leave(struct Task* t) {
  asm volatile("xsave64 (%0)" ::"r"(t->area), "a"(~0), "d"(~0) : "memory");
  asm volatile("mov %%ds,%0; mov %%es,%1; mov %%fs,%2; mov %%gs,%3"
               : "=m"(t->selectors[0]), "=m"(t->selectors[1]), "=m"(t->selectors[2]), "=m"(t->selectors[3]));
  t->fs = rdmsr(MSR_FS_BASE), t->gs = rdmsr(MSR_GS_BASE);
}
static void enter(struct Task* t) {
  asm volatile("xrstor64 (%0)" ::"r"(t->area), "a"(~0), "d"(~0) : "memory");
  asm volatile("mov %0,%%ds; mov %1,%%es; mov %2,%%fs; mov %3,%%gs" ::"m"(t->selectors[0]), "m"(t->selectors[1]),
               "m"(t->selectors[2]), "m"(t->selectors[3]) : "memory");
  wrmsr(MSR_FS_BASE, t->fs), wrmsr(MSR_GS_BASE, t->gs);
  write_cr3(t->cr3 | (read_cr4() & CR4_PCIDE ? 1ull << 63 : 0));
}
static int answer(struct Task* t) {  // whether to switch
  static u64 got, wanted;
  struct User* u = &t->u;
  if (u->rax == CALL_MORE) {
    u->rax = interrupts < limit || ++t->steps < 50;
  } else if (u->rax == CALL_PLAIN) {
    u->rax = ~u->rdi;
  } else {
    if (u->rax == CALL_VALUES) got = u->rdi, wanted = u->rsi;
    if (u->rax == CALL_FAIL) failed("user code", (int)u->rdi, (const char*)u->rsi, got, wanted);
    u->rax = 0;
  }
  u->sysret = u->rdi & 1;
  return u->rdi >> 1 & 1;
}
static void run_tasks(u64 count) {
  u64 current = 0;
  limit = interrupts + INTERRUPTS;
  stop = 0;
  enter(&tasks[0]);
  for (u64 left = count; left;) {
    struct Task* t = &tasks[current];
    run_user(&t->u);
    int change = 1;
    if (t->u.vector == INTERRUPT) {
      t->u.sysret = 0;
      ++interrupts;
    } else if (t->u.vector == VEC_SYSCALL) {
      change = answer(t);
    } else if (t->u.vector == VEC_USER_END) {
      t->done = 1;
      --left;
    } else {
      show_user("unexpected:", &t->u);
      finish(1);
    }
    if (change && count == 2 && !tasks[!current].done) {
      leave(t);
      current = !current;
      enter(&tasks[current]);
    }
  }
  stop = 1;
}
static void start(u64 (*fn)(u64), u64 count) {
  for (u64 n = 0; n < count; ++n) {
    struct Task* t = &tasks[n];
    const u64 cr3 = t->cr3;
    for (u64* p = (u64*)t; p < (u64*)(t + 1); ++p) *p = 0;
    t->cr3 = cr3;
    AT(u32, t->area + 24) = 0x1f80;  // MXCSR
    t->u = user_begin(fn, n);
    t->u.rsp -= 1024 * n;
    AT(u64, t->u.rsp) = AT(u64, user_begin(fn, n).rsp);
  }
  run_tasks(count);
}

static void set_xcr0(u64 value) {
  xcr0 = value;
  asm volatile("xsetbv" ::"a"((u32)value), "d"(0), "c"(0));
  width = (value & 0xe6) == 0xe6 ? 64 : value & 4 ? 32 : 16;
}

void test(void) {
  user_init();
  u32 r[4];
  cpuid(0xd, 0, r);
  const u64 all = r[0] & 0xe7;
  stop = 1;
  start_ap(1, interrupter);
  for (u64 n = 0; n < 2; ++n) tasks[n].cr3 = new_space();
  set_xcr0(all);
  start(task, 1);
  start(task, 2);
  set_xcr0(all & 7);
  start(task, 2);
  set_xcr0(3);
  start(task, 2);
  set_xcr0(all);
  const u64 first = read_cr3() & ~0xfffull;
  write_cr3(first);
  write_cr4(read_cr4() | CR4_PCIDE);
  for (u64 n = 0; n < 2; ++n) tasks[n].cr3 |= n + 1;
  start(task, 2);
  start(segments, 1);
  start(segments, 2);
  start(red_zone, 1);
}
