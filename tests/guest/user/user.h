#pragma once
// A small kernel for programs whose subject is user mode. Where a common kernel has its loop of system
// calls, faults and interrupts a program has a loop of its own around run_user(): whatever ends user
// mode comes back as a value, and the program changes tables, registers or memory and goes on.
#include "guest.h"

enum { VEC_SYSCALL = 0x100 };

// All registers of user code but the floating-point ones, which stay in the CPU. Begins as struct Frame.
struct User {
  u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
  u64 vector, error, rip, cs, rflags, rsp, ss;  // what ended user mode: a vector or VEC_SYSCALL
  u64 cr2, dr6;                                 // as they were then
  u64 sysret;                                   // whether to enter by SYSRETQ (rcx, r11 are lost)
};

// Takes every vector and SYSCALL on this CPU, with NMI on a stack of its own, and sets what user code has in
// common kernels: CR0.AM, CR4.FSGSBASE, all of x87, SSE, AVX and AVX-512 that the CPU has. Once on each CPU,
// before run_user().
void user_init(void);
// The state in which fn(arg) begins on this CPU's user stack; it ends with VEC_USER_END and rax.
struct User user_begin(u64 (*fn)(u64), u64 arg);
// Runs user code until something ends it. Interrupts are off outside of user mode.
void run_user(struct User* u);
// run_user() on a fresh state.
struct User call_user(u64 (*fn)(u64), u64 arg);
void show_user(const char* what, const struct User* u);

// A system call, for user code. The number is the program's to choose.
INLINE u64 sys(u64 number, u64 a, u64 b) {
  u64 v;
  asm volatile("syscall" : "=a"(v) : "a"(number), "D"(a), "S"(b) : "rcx", "r11", "memory", "cc");
  return v;
}

// User code with instructions that an engine may look for, in pages of their own.
#define USER_SPECIAL __attribute__((section(".user.special"), noinline, optimize("no-jump-tables")))

// ---- memory and address spaces ---------------------------------------------------------------------
// A zeroed physical page, which the kernel has at its own address. (From 16 MiB on; free_page() is small.)
u64 frame(void);
u64 frames_left(void);
// A new PML4, whose first entry (kernel, user code and stacks) is that of the runtime.
u64 new_space(void);
// The entry of `level` (1..4) for va in the tables under pml4; missing tables are made.
volatile u64* space_pte(u64 pml4, u64 va, unsigned level);
// Maps the 2 MiB of user code and stacks by pages of 4 KiB.
void split_user_code(void);

#define PTE_URW (PTE_P | PTE_W | PTE_U)
#define PTE_UR (PTE_P | PTE_U)

// ---- random numbers ----------------------------------------------------------------------------------
INLINE u64 next_random(u64* state) {  // xorshift64*
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 0x2545f4914f6cdd1dull;
}

// A failed check that names its case.
_Noreturn void failed_case(const char* file, int line, const char* name, const char* what, u64 got, u64 wanted);
#define CASE_EQ(name, got, wanted)                                                              \
  do {                                                                                          \
    const u64 got_ = (u64)(got), wanted_ = (u64)(wanted);                                       \
    if (got_ != wanted_) failed_case(__FILE__, __LINE__, name, #got, got_, wanted_);            \
  } while (0)
