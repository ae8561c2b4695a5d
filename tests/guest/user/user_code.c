/* User code that changes: by itself, by an alias, by the kernel, by a string input of the kernel, page by page
 * with rights that alternate; code that was run by the kernel or step by step before it changes; instructions that
 * an engine must see coming, written where others have run; instructions across pages (SDM vol. 3, 8.1.3).
 * @seconds 60
 */
#include "service.h"

#define VA FREE_VA
#define ALIAS (VA + 0x100000)
#define READ(at) (*(volatile u64*)(at))
enum { ROUNDS = 200, LIMIT = 0x2345, SEL_LIMIT = SEL_FREE | 3, CALL_RUN = CALL_OTHER, CALL_STEP, CALL_INPUT };
static USER_DATA volatile u64 frame_a, frame_b;

USER static u64 run(u64 at) { return ((u64(*)(void))at)(); }
USER static void put_user(u64 at, u32 value) {
  *(volatile u8*)at = 0xb8;
  *(volatile u32*)(at + 1) = value;
  *(volatile u8*)(at + 5) = 0xc3;
}

// ---- by itself and by an alias -------------------------------------------------------------------------------
USER static u64 by_itself(u64 at) {
  for (u32 n = 0; n < ROUNDS; ++n) {
    put_user(at, n);
    USER_EQ("rewritten", run(at), n);
    *(volatile u32*)(at + 1) ^= 0x55;
    USER_EQ("a word of it", run(at), n ^ 0x55);
    asm volatile("lock incb (%0)" ::"r"(at + 2) : "memory", "cc");
    USER_EQ("locked", run(at), ((n ^ 0x55) & ~0xff00u) | (((n ^ 0x55) + 0x100) & 0xff00));
    put_user(at + 0x800, n + 7);
    USER_EQ("elsewhere in the page", run(at + 0x800), n + 7);
    USER_EQ("and the first is as it was", run(at) & 0xff, (n ^ 0x55) & 0xff);
    for (u32 k = 0; k < 3; ++k) USER_EQ("again", run(at + 0x800), n + 7);
  }
  return 0;
}
USER static u64 by_alias(u64 at) {
  for (u32 n = 0; n < ROUNDS; ++n) {
    put_user(at + 64, n);
    USER_EQ("by alias", run(VA + 64), n);
    *(volatile u8*)(at + 66) = 0x77;
    USER_EQ("a byte by alias", run(VA + 64), (n & ~0xff00u) | 0x7700);
  }
  return 0;
}
// The store changes what comes right behind it: addb; mov $imm, %eax; ret.
USER static u64 right_behind(u64 at) {
  static USER_DATA u8 text[] = {0x89, 0x3d, 1, 0, 0, 0, 0xb8, 0, 0, 0, 0, 0xc3};  // mov %edi, 1(%rip)
  for (u64 n = 0; n < sizeof text; ++n) *(volatile u8*)(at + n) = text[n];
  for (u32 n = 1; n < ROUNDS; ++n) USER_EQ("right behind", ((u64(*)(u32))at)(n), n);
  return 0;
}
// Stack and code in one page.
USER static u64 stack_beside(u64 at) {
  put_user(at, 1234);
  for (u64 n = 0; n < ROUNDS; ++n) {
    u64 v;
    asm volatile("mov %%rsp,%%r12; mov %2,%%rsp; call *%1; push %%rax; pop %%rcx; add %%rcx,%%rax; mov %%r12,%%rsp"
                 : "=&a"(v) : "r"(at), "r"(at + 0xff0 - n % 64 * 8) : "rcx", "r12", "memory", "cc");
    USER_EQ("stack beside code", v, 2468);
  }
  return 0;
}

// ---- by the kernel ---------------------------------------------------------------------------------------------
static u64 kernel_call(u64 number, u64 a, u64 b) {
  if (number == CALL_RUN) return ((u64(*)(void))a)();
  if (number == CALL_INPUT) {
    outl(LATCH_DONE, (u32)b);
    asm volatile("insl" : "+D"(a) : "d"(LATCH_DONE) : "memory");
  }
  return 0;
}
USER static u64 by_kernel(u64 unused) {
  for (u32 n = 0; n < ROUNDS; ++n) {
    sys(CALL_POKE, frame_a + 128, 0xb8 | (u64)n << 8 | 0xc3ull << 40);
    USER_EQ("by the kernel", run(VA + 128), n);
    sys(CALL_INPUT, frame_a + 129, ~n);
    USER_EQ("by a device", run(VA + 128), (u32)~n);
  }
  return unused;
}
// The kernel runs what the user writes.
USER static u64 for_kernel(u64 at) {
  for (u32 n = 0; n < ROUNDS; ++n) {
    put_user(at + 256, n);
    USER_EQ("for the kernel", sys(CALL_RUN, frame_a + 256, 0), n);
    USER_EQ("and the user", run(VA + 256), n);
    *(volatile u32*)(at + 257) = n * 3;
    if (n & 1) USER_EQ("the user first", run(VA + 256), n * 3);
    USER_EQ("for the kernel, changed", sys(CALL_RUN, frame_a + 256, 0), n * 3);
  }
  return 0;
}

// ---- rights that alternate, frames that alternate -----------------------------------------------------------------
USER static u64 either(u64 unused) {
  for (u32 n = 0; n < ROUNDS; ++n) {
    sys(CALL_SET, VA, frame_a | PTE_URW | PTE_NX);
    put_user(VA + 32, n);
    USER_EQ("NX", probe_run(VA + 32), PROBE_FAULT | PF_P | PF_U | PF_I);
    sys(CALL_SET, VA, frame_a | PTE_UR);
    USER_EQ("executable", run(VA + 32), n);
    USER_EQ("read-only", probe_write(VA + 32, 0), PROBE_FAULT | PF_P | PF_U | PF_W);
    USER_EQ("executable still", probe_run(VA + 32), n);
    sys(CALL_SET, VA, frame_b | PTE_URW);
    put_user(VA + 32, n + 1);
    USER_EQ("another frame", run(VA + 32), n + 1);
    sys(CALL_SET, VA, frame_a | PTE_URW);
    USER_EQ("the first again", run(VA + 32), n);
  }
  return unused;
}

// ---- across pages ----------------------------------------------------------------------------------------------------
USER static u64 across(u64 unused) {
  for (u32 n = 0; n < ROUNDS; ++n) {
    const u64 at = VA + 0x1000 - 1 - n % 5;
    put_user(at, n);
    USER_EQ("across", run(at), n);
    *(volatile u8*)(at + 4) = 0x11;  // in the second page
    USER_EQ("across, changed", run(at), (n & 0xffffff) | 0x11000000);
    // two bytes of the constant in each page; the second page changes
    put_user(VA + 0xffd, 0x12345678);
    USER_EQ("before", run(VA + 0xffd), 0x12345678);
    const u64 was = sys(CALL_GET, VA + 0x1000, 0);
    sys(CALL_SET, VA + 0x1000, frame_b | PTE_UR);
    sys(CALL_POKE, frame_b, 0xc30000 | (n & 0xffff));
    USER_EQ("another second page", run(VA + 0xffd), (n & 0xffff) << 16 | 0x5678);
    sys(CALL_SET, VA + 0x1000, was);
    USER_EQ("as it was", run(VA + 0xffd), 0x12345678);
  }
  return unused;
}

// ---- instructions that are not the host's, in pages that have run ----------------------------------------------------
// lsl %si, %eax; ret - the limit of a segment that the host has not.
#define LSL 0xc3c6030full
USER static u64 run_lsl(u64 at) {
  u64 v;
  asm volatile("call *%1" : "=a"(v) : "r"(at), "a"(1), "S"(SEL_LIMIT) : "memory", "cc");
  return v;
}
USER static void put_bytes(u64 at, u64 value, u64 bytes) {
  for (u64 n = 0; n < bytes; ++n) *(volatile u8*)(at + n) = (u8)(value >> 8 * n);
}
USER static u64 turns_special(u64 at) {  // where the user writes what is executed at VA
  for (u32 n = 0; n < ROUNDS; ++n) {
    put_user(at + 512, n);
    USER_EQ("plain", run(VA + 512), n);
    if (n & 1) *(volatile u32*)(at + 512) = (u32)LSL;
    else put_bytes(at + 512, LSL, 4);
    USER_EQ("turned special", run_lsl(VA + 512), LIMIT);
    put_user(at + 512, n);
    USER_EQ("turned plain", run(VA + 512), n);
    // one byte makes it: lar is 0f 02
    put_bytes(at + 512, 0xc3c6020full, 4);
    USER_EQ("LAR", run_lsl(VA + 512), 0x40f300);
    *(volatile u8*)(at + 513) = 3;
    USER_EQ("one byte", run_lsl(VA + 512), LIMIT);
  }
  return 0;
}
USER static u64 special_by_kernel(u64 unused) {
  for (u32 n = 0; n < ROUNDS; ++n) {
    sys(CALL_POKE, frame_a + 640, 0xb8 | (u64)n << 8 | 0xc3ull << 40);
    USER_EQ("plain", run(VA + 640), n);
    sys(CALL_POKE, frame_a + 640, LSL);
    USER_EQ("special by the kernel", run_lsl(VA + 640), LIMIT);
  }
  return unused;
}
// Half of it in each page; and a second page that brings it.
USER static u64 special_across(u64 unused) {
  for (u32 n = 0; n < ROUNDS; ++n) {
    const u64 first = 1 + n % 3, at = VA + 0x1000 - first;
    for (u64 k = 8; k <= 64; k += 8) put_bytes(at - k, 0x9090909090909090, 8);  // it is no operand of what is there
    put_bytes(at, 0x90909090c3c3c3c3ull >> 8 * (n % 4), 4);
    put_bytes(at, LSL, 4);
    USER_EQ("special across", run_lsl(at), LIMIT);
    const u64 was = sys(CALL_GET, VA + 0x1000, 0);
    sys(CALL_POKE, frame_b, first == 1 ? 0xc3c602 : first == 2 ? 0xc3c0 : 0xc3);
    sys(CALL_SET, VA + 0x1000, frame_b | PTE_UR);
    USER_EQ("other second half", run_lsl(at), first == 1 ? 0x40f300u : first == 2 ? 1u : LIMIT);
    sys(CALL_SET, VA + 0x1000, was);
    USER_EQ("first second half", run_lsl(at), LIMIT);
  }
  return unused;
}

// ---- many pages, at random -------------------------------------------------------------------------------------------
enum { BUFFER = 24 };
#define BUFFER_VA (VA + 0x400000)
USER static u64 generated(u64 steps) {
  static USER_DATA u32 what[BUFFER * 8];
  u64 seed = 9;
  for (u64 n = 0; n < BUFFER * 8; ++n) put_user(BUFFER_VA + n * 512, what[n] = (u32)n);
  for (u64 n = 0; n < steps; ++n) {
    const u64 r = next_random(&seed) >> 20, which = r % (BUFFER * 8), at = BUFFER_VA + which * 512;
    if (r >> 20 & 1) {
      USER_EQ("generated", run(at), what[which]);
    } else if (r >> 21 & 1) {
      put_user(at, what[which] = (u32)r);
    } else {
      *(volatile u8*)(at + 3) = (u8)r;
      what[which] = (what[which] & 0xff00ffff) | (u32)(r & 0xff) << 16;
    }
  }
  return 0;
}

// ---- code that went step by step before ------------------------------------------------------------------------------
static void stepped(void) {
  for (u32 n = 0; n < 50; ++n) {
    put_function(frame_a + 768, n);
    struct User u = user_begin((u64(*)(u64))(VA + 768), 0);
    u.rflags |= FLAG_TF;
    for (int step = 0; step < 2; ++step) {
      run_user(&u);
      CHECK_EQ(u.vector, VEC_DB);
      CHECK_EQ(u.rax, n);
    }
    u.rflags &= ~FLAG_TF;
    run_user(&u);
    CHECK_EQ(u.vector, VEC_USER_END);
    serve_user(by_alias, n & 1 ? VA : ALIAS, 0, 0);
    AT(u32, frame_a + 769) = n + 5;
    CHECK_EQ(serve_user(run, VA + 768, 0, 0), n + 5);
  }
}

static void map(u64 va, u64 entry) { *space_pte(read_cr3(), va, 1) = entry, invlpg(va); }
static void all(void) {
  for (int round = 0; round < 2; ++round) {
    map(VA, frame_a | PTE_URW);
    map(VA + 0x1000, frame() | PTE_URW);
    map(ALIAS, frame_a | PTE_URW | PTE_NX);
    serve_user(by_itself, VA, 0, 0);
    serve_user(by_alias, ALIAS, 0, 0);
    serve_user(right_behind, VA + 0x400, 0, 0);
    serve_user(stack_beside, VA, 0, 0);
    serve_user(by_kernel, 0, kernel_call, 0);
    serve_user(for_kernel, VA, kernel_call, 0);
    serve_user(for_kernel, ALIAS, kernel_call, 0);
    serve_user(turns_special, VA, 0, 0);
    map(VA, frame_a | PTE_UR);
    serve_user(by_alias, ALIAS, 0, 0);
    serve_user(turns_special, ALIAS, 0, 0);
    serve_user(special_by_kernel, 0, 0, 0);
    map(VA, frame_a | PTE_URW);
    serve_user(across, 0, 0, 0);
    serve_user(special_across, 0, 0, 0);
    serve_user(either, 0, 0, 0);
  }
}

void test(void) {
  user_init();
  gdt[0][SEL_LIMIT / 8] = 0x0040f30000000000 | LIMIT;
  frame_a = frame(), frame_b = frame();
  all();
  for (u64 n = 0; n < BUFFER; ++n) map(BUFFER_VA + n * 4096, frame() | PTE_URW);
  serve_user(generated, 10000, 0, 0);
  map(ALIAS, frame_a | PTE_URW | PTE_NX);
  stepped();
  // the same where user code and its stack are in small pages
  split_user_code();
  all();
  // and where what is written is part of a large page
  const u64 big = 0x2000000;
  volatile u64* e = space_pte(read_cr3(), VA + (1ull << 30), 2);
  *e = big | PTE_URW | PTE_PS;
  serve_user(by_itself, VA + (1ull << 30) + 0x12340, 0, 0);
  serve_user(stack_beside, VA + (1ull << 30) + 0x1ff000, 0, 0);
}
