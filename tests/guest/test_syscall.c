/* SYSCALL/SYSRET, SYSENTER/SYSEXIT, SWAPGS, FSGSBASE: registers, flags, rights (SDM vol. 3, 5.8.7,
 * 5.8.8; vol. 2).
 */
#include "guest.h"

u64 kernel_rsp, saw_rcx, saw_r11, saw_cs, saw_ss, saw_flags;
void on_syscall(void);
void on_sysenter(void);
asm(R"(
  .text
  .globl on_syscall, on_sysenter
on_syscall:
  mov %rcx, saw_rcx
  mov %r11, saw_r11
  mov %cs, saw_cs
  mov %ss, saw_ss
  mov %rsp, %rdx
  mov kernel_rsp, %rsp
  pushfq
  pop saw_flags
  mov %rdx, %rsp
  mov $77, %eax
  sysretq
on_sysenter:
  mov %cs, saw_cs
  mov %ss, saw_ss
  mov %rsp, saw_rcx
  mov %rdi, %rdx
  mov %rsi, %rcx
  sysexitq
)");

USER static u64 user_syscall(u64 x) {
  u64 v;
  asm volatile("std; stc; syscall; cld" : "=a"(v) : "D"(x) : "rcx", "rdx", "r11", "memory", "cc");
  return v;
}
USER static u64 user_sysenter(u64 x) {
  u64 v;
  asm volatile("mov %%rsp,%%rsi; lea 1f(%%rip),%%rdi; sysenter; 1: mov $9,%%eax" : "=a"(v) : "a"(x)
               : "rcx", "rdx", "rsi", "rdi", "memory");
  return v;
}
USER static u64 user_fsbase(u64 x) {
  u64 v;
  asm volatile("wrfsbase %1; rdfsbase %0" : "=r"(v) : "r"(x));
  return v;
}
USER static u64 user_swapgs(u64 x) { asm volatile("swapgs"); return x; }
static void wrgsbase(u64 v) { asm volatile("wrgsbase %0" ::"r"(v)); }
static void set_lstar(u64 v) { wrmsr(MSR_LSTAR, v); }

static void syscalls(void) {
  asm volatile("mov %%rsp,%0" : "=m"(kernel_rsp));
  kernel_rsp -= 256;
  wrmsr(MSR_STAR, (u64)(SEL_CODE64) << 32 | (u64)(SEL_UCODE32) << 48);
  wrmsr(MSR_LSTAR, (u64)on_syscall);
  wrmsr(MSR_SFMASK, FLAG_IF | 0x400 | FLAG_TF);
  const struct Trap t = try_user(user_syscall, 0);
  CHECK_EQ(t.vector, VEC_USER_END);
  CHECK_EQ(t.rax, 77);
  CHECK_EQ(t.cs, SEL_UCODE64);
  CHECK_EQ(saw_cs, SEL_CODE64);
  CHECK_EQ(saw_ss, SEL_DATA);
  CHECK_EQ(saw_r11 & 0x601, 0x601);       // what the user had: IF, DF, CF
  CHECK_EQ(saw_flags & 0x601, 1);         // masked: IF, DF
  CHECK_EQ(AT(u16, saw_rcx - 2), 0x050f);
  CHECK_EQ(try_call(set_lstar, 0x800000000000).vector, VEC_GP);
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~1ull);
  CHECK_EQ(try_user(user_syscall, 0).vector, VEC_UD);
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1);
}

static void sysenters(void) {
  wrmsr(MSR_SYSENTER_CS, 0);
  CHECK_EQ(try_user(user_sysenter, 0).vector, VEC_GP);
  wrmsr(MSR_SYSENTER_CS, SEL_CODE64);
  wrmsr(MSR_SYSENTER_ESP, kernel_rsp);
  wrmsr(MSR_SYSENTER_EIP, (u64)on_sysenter);
  const struct Trap t = try_user(user_sysenter, 0);
  CHECK_EQ(t.vector, VEC_USER_END);
  CHECK_EQ(t.rax, 9);
  CHECK_EQ(t.cs, SEL_CODE64 + 32 + 3);
  CHECK_EQ(saw_cs, SEL_CODE64);
  CHECK_EQ(saw_ss, SEL_DATA);
  CHECK_EQ(saw_rcx, kernel_rsp);
}

static void bases(void) {
  CHECK_EQ(try_user(user_fsbase, 0x1234).vector, VEC_UD);  // CR4.FSGSBASE = 0
  write_cr4(read_cr4() | CR4_FSGSBASE);
  CHECK_EQ(try_user(user_fsbase, 0x123456789a).rax, 0x123456789a);
  CHECK_EQ(rdmsr(MSR_FS_BASE), 0x123456789a);
  CHECK_EQ(try_call(wrgsbase, 0x800000000000).vector, VEC_GP);
  CHECK_EQ(try_user(user_swapgs, 0).vector, VEC_GP);
  static u64 a = 11, b = 22;
  wrmsr(MSR_GS_BASE, (u64)&a);
  wrmsr(MSR_KERNEL_GS_BASE, (u64)&b);
  u64 x, y;
  asm volatile("mov %%gs:0,%0; swapgs; mov %%gs:0,%1" : "=&r"(x), "=&r"(y));
  CHECK_EQ(x, 11);
  CHECK_EQ(y, 22);
  CHECK_EQ(rdmsr(MSR_GS_BASE), (u64)&b);
  CHECK_EQ(rdmsr(MSR_KERNEL_GS_BASE), (u64)&a);
  asm volatile("mov %0,%%fs" ::"r"(0));  // a null selector: base 0 on Intel
  CHECK_EQ(rdmsr(MSR_FS_BASE), 0);
}

void test(void) {
  syscalls();
  sysenters();
  bases();
}
