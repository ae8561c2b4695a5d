/* Accesses that lie next to each other, which a translator may check together: each has its effect and
 * its fault alone, in order, whatever page the others are in. */
#include "guest.h"

#define VA FREE_VA
static u64 page[3];

// mov [rbx], 1; mov [rbx+8], 2; mov rax, [rbx+16]
static NOINLINE void three(u64 a) {
  asm volatile("movq $1,(%0)\n movq $2,8(%0)\n movq 16(%0),%%rax" ::"b"(a) : "rax", "memory");
}
// The second access only if the first reads 0.
static NOINLINE void maybe(u64 a) {
  asm volatile("movq (%0),%%rax\n test %%rax,%%rax\n jnz 1f\n movq $5,8(%0)\n 1:" ::"b"(a) : "rax", "memory");
}
// Through a copy of the register and sums.
static NOINLINE void moved(u64 a) {
  asm volatile("mov %0,%%rcx\n add $16,%%rcx\n lea -8(%%rcx),%%rdx\n"
               "movq $1,(%0)\n movq $2,(%%rdx)\n movq $3,(%%rcx)" ::"b"(a) : "rcx", "rdx", "memory");
}
// Pushes three words and takes them off again, with the stack at `a`.
static NOINLINE void stacked(u64 a) {
  asm volatile("mov %%rsp,%%r12\n mov %0,%%rsp\n push $7\n push %%rbx\n push $9\n"
               "pop %%rax\n pop %%rcx\n pop %%rdx\n mov %%r12,%%rsp\n add %%rdx,%%rax\n mov %%rax,-64(%0)"
               ::"b"(a) : "rax", "rcx", "rdx", "r12", "memory");
}
USER static u64 no_stack(u64 a) {
  u64 v;
  asm volatile("mov %%rsp,%%r12\n mov %1,%%rsp\n pop %0\n mov %%r12,%%rsp" : "=r"(v) : "b"(a) : "r12", "memory");
  return v;
}

static void wipe(void) {
  for (int i = 0; i < 3; ++i)
    for (int n = 0; n < 512; ++n) AT(u64, page[i] + 8 * n) = 0;
}

static void set(int n, u64 flags) {
  *pte_of(VA + 4096 * n, 1) = flags ? page[n] | flags : 0;
  invlpg(VA + 4096 * n);
}

static void across(void) {
  for (int i = 0; i < 40; ++i) {
    wipe();
    three(VA + 4096 - 8 * (i % 4));
    CHECK_EQ(AT(u64, VA + 4096 - 8 * (i % 4)), 1);
    CHECK_EQ(AT(u64, VA + 4104 - 8 * (i % 4)), 2);
    moved(VA + 4096 - 8 * (i % 4));
    CHECK_EQ(AT(u64, VA + 4112 - 8 * (i % 4)), 3);
    stacked(VA + 4096 + 8 * (i % 5));
    CHECK_EQ(AT(u64, VA + 4096 + 8 * (i % 5) - 64), 16);
    CHECK_EQ(AT(u64, VA + 4096 + 8 * (i % 5) - 8), 7);
  }
}

static void faults(void) {
  for (int i = 0; i < 40; ++i) {
    wipe();
    set(1, 0);
    struct Trap t = try_call(three, VA + 4096 - 8);
    CHECK_EQ(t.vector, VEC_PF);
    CHECK_EQ(t.cr2, VA + 4096);
    CHECK_EQ(t.error, PF_W);
    CHECK_EQ(AT(u64, page[0] + 4096 - 8), 1);  // the first is done
    t = try_call(three, VA + 4096 - 16);
    CHECK_EQ(t.cr2, VA + 4096);
    CHECK_EQ(t.error, 0);
    CHECK_EQ(AT(u64, page[0] + 4096 - 8), 2);
    AT(u64, page[0] + 4096 - 8) = 1;
    CHECK_EQ(try_call(maybe, VA + 4096 - 8).vector, NO_TRAP);
    AT(u64, page[0] + 4096 - 8) = 0;
    CHECK_EQ(try_call(maybe, VA + 4096 - 8).cr2, VA + 4096);
    set(1, PTE_P | PTE_W);
  }
}

// A look at both must not mark what only the first touches, and not write where only reading is allowed.
static void rights(void) {
  for (int i = 0; i < 40; ++i) {
    wipe();
    set(0, PTE_P);
    AT(u64, page[0] + 64) = 1;
    CHECK_EQ(try_call(maybe, VA + 64).vector, NO_TRAP);
    CHECK_EQ(*pte_of(VA, 1) & PTE_D, 0);
    write_cr0(read_cr0() | 1u << 16);
    AT(u64, page[0] + 64) = 0;
    struct Trap t = try_call(maybe, VA + 64);
    CHECK_EQ(t.vector, VEC_PF);
    CHECK_EQ(t.error, PF_P | PF_W);
    CHECK_EQ(t.cr2, VA + 72);
    write_cr0(read_cr0() & ~(1ull << 16));
    set(0, PTE_P | PTE_W);
    AT(u64, page[0] + 64) = 1;
    CHECK_EQ(try_call(maybe, VA + 64).vector, NO_TRAP);
    CHECK_EQ(*pte_of(VA, 1) & PTE_D, 0);
    AT(u64, page[0] + 64) = 0;
    CHECK_EQ(try_call(maybe, VA + 64).vector, NO_TRAP);
    CHECK_EQ(*pte_of(VA, 1) & PTE_D, PTE_D);
  }
}

// A CALL across two pages, in ever new address spaces, and the stack's page is not in the TLB. What it calls
// comes back by the old stack, which is in r12.
static void call_across_pages(void) {
  static const u8 code[] = {0xe8, 11, 0, 0, 0}, f[] = {0x4c, 0x89, 0xe4, 0xc3};
  for (unsigned i = 0; i < 300; ++i) {
    const u64 at = VA + 4096 - 1 - i / 75;
    if (i % 75 == 0) {
      for (unsigned n = 0; n < sizeof code; ++n) AT(u8, at + n) = code[n];
      for (unsigned n = 0; n < sizeof f; ++n) AT(u8, at + 16 + n) = f[n];
    }
    // A new address space by the one way or the other.
    if (i % 3 == 1) write_cr3(read_cr3());
    if (i % 3 == 2) {
      write_cr4(read_cr4() ^ CR4_PGE);
      write_cr4(read_cr4() ^ CR4_PGE);
    }
    asm volatile("push $1f\n mov %%rsp,%%r12\n mov %0,%%rsp\n jmp *%1\n 1:" ::"r"(VA + 3 * 4096), "r"(at)
                 : "r12", "memory");
    CHECK_EQ(AT(u64, VA + 3 * 4096 - 8), at + 5);
  }
}

static void no_address(void) {
  static const u64 bad[] = {1ull << 63, 0x800000000000, 0xffff7fffffffffff, (1ull << 63) + 4088};
  for (int i = 0; i < 40; ++i) {
    CHECK_EQ(try_call(three, bad[i % 4]).vector, VEC_GP);
    CHECK_EQ(try_user(no_stack, bad[i % 4] & ~7ull).vector, VEC_SS);
  }
}

// PUSH of a register by its long encoding (FF /6), and a push behind it that lies in another page. Their
// frames are not neighbours.
static void long_push(void) {
  const u64 va = VA + 16 * 4096;
  map_page(va, page[2], PTE_P | PTE_W, 1);
  map_page(va + 4096, page[0], PTE_P | PTE_W, 1);
  for (int i = 0; i < 40; ++i) {
    u64 back;
    AT(u64, page[2] + 4088) = AT(u64, page[0]) = AT(u64, page[1] + 4088) = 0;
    asm volatile("mov %%rsp,%0; mov %1,%%rsp; .byte 0xff,0xf2; push %%rcx; mov %0,%%rsp"
                 : "=&r"(back) : "r"(va + 4096 + 8), "d"(0x1234), "c"(0x5678) : "memory");
    CHECK_EQ(AT(u64, page[0]), 0x1234);
    CHECK_EQ(AT(u64, page[2] + 4088), 0x5678);
  }
}

// PUSH of memory that the look-up in line cannot reach, and a push behind it.
static void push_across(void) {
  for (int i = 0; i < 40; ++i) {
    u64 back;
    AT(u64, VA + 4096 - 3) = 0x1122334455667788;
    AT(u64, VA + 8192 + 256) = AT(u64, VA + 8192 + 264) = 0;
    asm volatile("mov %%rsp,%0; mov %1,%%rsp; pushq (%2); push %%rcx; mov %0,%%rsp"
                 : "=&r"(back) : "r"(VA + 8192 + 272), "r"(VA + 4096 - 3), "c"(0x5678) : "memory");
    CHECK_EQ(AT(u64, VA + 8192 + 264), 0x1122334455667788);
    CHECK_EQ(AT(u64, VA + 8192 + 256), 0x5678);
  }
}

void test(void) {
  for (int n = 0; n < 3; ++n) {
    page[n] = free_page();
    map_page(VA + 4096 * n, page[n], PTE_P | PTE_W, 1);
  }
  cli();
  across();
  faults();
  rights();
  no_address();
  long_push();
  push_across();
  call_across_pages();
}
