/* Compatibility mode and back, far calls, jumps and returns, LDT, IRET to user and back with NT, TSS
 * busy bit, LAR and LSL (SDM vol. 3, 5.8, 3.5; vol. 2).
 */
#include "guest.h"

asm(R"(
  .section .user.text, "ax"
  .code32
  .globl compat_code
compat_code:            # at CPL 3, 32-bit: eax = esp's upper bits and a 32-bit wrap
  mov $0x2b, %eax       # IRET to CPL 3 cleared the DS of CPL 0
  mov %eax, %ds
  mov $0xfffffff0, %ebx
  mov compat_word+0x10(%ebx), %eax     # the address wraps at 4 GiB
  dec %eax              # 48h: DEC here, REX in 64-bit code
  push %eax
  pop %ecx
  int $0x80
  .globl compat_end
compat_end:
compat_word: .long 0x1235
  .text
  .globl compat_kernel
compat_kernel:          # at CPL 0, by a far call from 64-bit code
  mov $0x40, %eax
  inc %eax
  lret
  .code64
  .globl far_target
far_target:             # by a far pointer: the frame has 32-bit entries
  mov $7, %eax
  lretl
  .globl gate_target
gate_target:            # by a call gate: 64-bit entries
  mov $8, %eax
  lretq
)");
extern u8 compat_code[], compat_end[], compat_kernel[], far_target[], gate_target[];

static void to_compat(u64 unused) {
  (void)unused;
  asm volatile("pushq %0; pushq $0x3ff000; pushq $0x202; pushq %1; pushq %2; iretq" ::"i"(SEL_UDATA),
               "i"(SEL_UCODE32), "r"((u64)compat_code));
}
struct Far {
  u32 offset;
  u16 selector;
} __attribute__((packed));
static u64 far_call(void* to, u16 selector) {
  const struct Far f = {(u32)(u64)to, selector};
  u64 v;
  asm volatile("lcall *%1" : "=a"(v) : "m"(f) : "memory", "rcx");
  return v;
}
static void far_call_to(u64 selector) { far_call(far_target, (u16)selector); }
static void load_fs(u64 selector) { asm volatile("mov %w0,%%fs" ::"r"(selector)); }
static void lldt(u64 selector) { asm volatile("lldt %w0" ::"r"(selector)); }
static void ltr(u64 selector) { asm volatile("ltr %w0" ::"r"(selector)); }
static void iret_nt(u64 unused) {
  (void)unused;
  set_rflags(rflags() | 1 << 14);
  asm volatile("iretq");
}

static void far_calls(void) {
  CHECK_EQ(far_call(far_target, SEL_CODE64) & 0xffffffff, 7);
  CHECK_EQ(far_call(compat_kernel, SEL_CODE32) & 0xffffffff, 0x41);
  struct Trap t = try_call(far_call_to, SEL_DATA);
  CHECK_EQ(t.vector, VEC_GP);
  CHECK_EQ(t.error, SEL_DATA);
  t = try_call(far_call_to, SEL_UCODE64);
  CHECK_EQ(t.vector, VEC_GP);
  CHECK_EQ(t.error, SEL_UCODE64 & ~3);
  CHECK_EQ(try_call(far_call_to, 0).error, 0);
  // a call gate (64-bit: two entries)
  const u64 a = (u64)gate_target;
  gdt[0][SEL_FREE / 8] = (a & 0xffff) | (u64)(SEL_CODE64) << 16 | 0x8cull << 40 | (a >> 16 & 0xffff) << 48;
  gdt[0][SEL_FREE / 8 + 1] = a >> 32;
  CHECK_EQ(far_call(0, SEL_FREE) & 0xffffffff, 8);
}

static void ldt(void) {
  static u64 table[4];
  table[1] = 0x00cff3000000ffff | 0x12ull << 56 | 0x345678ull << 16;
  const u64 base = (u64)table;
  gdt[0][12] = 31 | (base & 0xffffff) << 16 | 0x82ull << 40;
  gdt[0][13] = 0;
  CHECK_EQ(try_call(load_fs, 8 | 4).vector, VEC_GP);  // no LDT yet
  CHECK_EQ(try_call(lldt, SEL_DATA).vector, VEC_GP);
  CHECK_EQ(try_call(lldt, 12 * 8).vector, NO_TRAP);
  CHECK_EQ(try_call(load_fs, 8 | 4).vector, NO_TRAP);
  CHECK_EQ(rdmsr(MSR_FS_BASE), 0x12345678);
  CHECK_EQ(try_call(load_fs, 32 | 4).error, 32 | 4);  // beyond its limit
  u64 rights = 0, limit = 0;
  u8 ok;
  asm volatile("lar %2,%0; setz %1" : "=r"(rights), "=q"(ok) : "r"((u64)(8 | 4)) : "cc");
  CHECK_EQ(ok, 1);
  CHECK_EQ(rights & 0xff00, 0xf300);
  asm volatile("lsl %2,%0; setz %1" : "=r"(limit), "=q"(ok) : "r"((u64)(8 | 4)) : "cc");
  CHECK_EQ(ok, 1);
  CHECK_EQ(limit, 0xffffffff);
  asm volatile("lar %2,%0; setz %1" : "=r"(rights), "=q"(ok) : "r"((u64)0) : "cc");
  CHECK_EQ(ok, 0);
  lldt(0);
  load_fs(0);
}

void test(void) {
  far_calls();
  const struct Trap t = try_call(to_compat, 0);
  CHECK_EQ(t.rip, (u64)compat_end);
  CHECK_EQ(t.vector, VEC_USER_END);
  CHECK_EQ(t.rax, 0x1234);
  CHECK_EQ(t.rcx, 0x1234);
  CHECK_EQ(t.cs, SEL_UCODE32);
  ldt();
  CHECK_EQ(gdt[0][SEL_TSS / 8] >> 40 & 0xf, 0xb);  // busy
  const struct Trap busy = try_call(ltr, SEL_TSS);
  CHECK_EQ(busy.vector, VEC_GP);
  CHECK_EQ(busy.error, SEL_TSS);
  CHECK_EQ(try_call(iret_nt, 0).vector, VEC_GP);
}
