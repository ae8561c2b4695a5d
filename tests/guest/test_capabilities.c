/* Capabilities that the vmm sets on a vCPU while it runs: INVPCID, RDTSCP and RDPID are #UD without
 * theirs, and CPUID agrees; PAUSE, INT3 and single steps leave with theirs.
 */
#include "guest.h"

#define PORT_CAPABILITY 0xfa
enum {
  CAP_MTRAP_EXIT = 1, CAP_PAUSE_EXIT = 2, CAP_ENABLE_INVPCID = 4, CAP_BPT_EXIT = 5, CAP_RDPID = 6,
  CAP_RDTSCP = 7, CAP_RFLAGS_TF = 10
};
enum { ROUNDS = 100 };

static void set(u32 capability, u32 on) { outl(PORT_CAPABILITY, capability | on << 8); }
static u32 exits(void) { return inl(PORT_CAPABILITY); }

static void use_invpcid(u64 arg) {
  (void)arg;
  invpcid(2, 0, 0);
}
static void use_rdtscp(u64 arg) {
  u32 a, c, d;
  asm volatile("rdtscp" : "=a"(a), "=c"(c), "=d"(d));
  CHECK_EQ(c, arg);
}
static void use_rdpid(u64 arg) {
  u64 id;
  asm volatile("rdpid %0" : "=r"(id));
  CHECK_EQ(id, arg);
}

struct Gated {
  u32 capability, leaf, word, bit;
  void (*use)(u64);
};
static const struct Gated gated[] = {
  {CAP_ENABLE_INVPCID, 7, 1, 10, use_invpcid},
  {CAP_RDPID, 7, 2, 22, use_rdpid},
  {CAP_RDTSCP, 0x80000001, 3, 27, use_rdtscp},
};

static unsigned shown(const struct Gated* g) {
  u32 r[4];
  cpuid(g->leaf, 0, r);
  return r[g->word] >> g->bit & 1;
}

static void instructions(void) {
  wrmsr(MSR_TSC_AUX, 0x1234);
  for (unsigned n = 0; n < sizeof gated / sizeof *gated; ++n) {
    const struct Gated* g = &gated[n];
    const unsigned there = shown(g);
    // From the start it is on where the processor has it, and with it off the others stay.
    for (u32 on = 0; on < 4; ++on) {
      set(g->capability, on & 1);
      CHECK_EQ(shown(g), (on & 1) && there);
      for (int i = 0; i < ROUNDS; ++i)
        CHECK_EQ(try_call(g->use, 0x1234).vector, (on & 1) && there ? NO_TRAP : VEC_UD);
    }
  }
}

static void pauses(void) {
  for (u32 on = 0; on < 4; ++on) {
    set(CAP_PAUSE_EXIT, on & 1);
    const u32 before = exits();
    for (int i = 0; i < ROUNDS; ++i) pause();
    CHECK_EQ(exits() - before, on & 1 ? ROUNDS : 0);
  }
  set(CAP_PAUSE_EXIT, 0);
}

static void hit_breakpoint(u64 arg) {
  (void)arg;
  asm volatile("int3");
}
static void breakpoints(void) {
  for (u32 on = 0; on < 4; ++on) {
    set(CAP_BPT_EXIT, on & 1);
    const u32 before = exits();
    for (int i = 0; i < ROUNDS; ++i)
      CHECK_EQ(try_call(hit_breakpoint, 0).vector, on & 1 ? NO_TRAP : VEC_BP);
    CHECK_EQ(exits() - before, on & 1 ? ROUNDS : 0);
  }
  set(CAP_BPT_EXIT, 0);
}

// The guest sees nothing of it but time: its own TF stays what it was.
static void steps(u32 capability) {
  set(capability, 1);
  const u32 before = exits();
  u64 flags, sum = 0;
  asm volatile("pushfq; pop %0; mov $50,%%ecx; 1: add %%rcx,%1; dec %%ecx; jnz 1b"
               : "=r"(flags), "+r"(sum)::"rcx", "cc", "memory");
  const u32 count = exits() - before;
  set(capability, 0);
  CHECK_EQ(sum, 50 * 51 / 2);
  CHECK_EQ(flags & FLAG_TF, 0);
  CHECK(count >= 150 && count < 250);
  const u32 after = exits();
  for (volatile int i = 0; i < 10; ++i) {}
  CHECK_EQ(exits(), after);
}

void test(void) {
  instructions();
  pauses();
  breakpoints();
  steps(CAP_MTRAP_EXIT);
  steps(CAP_RFLAGS_TF);
}
