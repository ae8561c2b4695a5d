/* 32-bit code in flat segments, many times over so that a translator takes it up: forms that 64-bit code has
 * not, addresses that wrap, segments that cease to be flat in the middle of a straight line, limits of FS and
 * GS, and the same bytes as 64-bit code (SDM vol. 1, 3.3.4, 3.3.7; vol. 2, 2.2.1). */
#include "guest.h"

u32 code_write(u32), sums(u32), wraps(u32), based(u32), limited(u32), either(u32), upper(u32), fills(u32);
u32 cell = 7, words[4] = {1, 2, 3, 4}, filled[64];
asm(R"(
  .text
  .code32
  .globl code_write, sums, wraps, based, limited, either, upper, fills
sums:                      # ebx: how often
  push %esi
  xor %eax, %eax
1: inc %eax                # one byte: a REX prefix in 64-bit code
  add cell, %eax           # an absolute address
  push %eax
  call 3f
  pop %ecx
  mov %eax, %esi
  movl words + 8, %eax     # A1: an absolute address as an immediate
  add %esi, %eax
  dec %ebx
  jnz 1b
  pop %esi
  lret
3: pushl 4(%esp)
  popl %edx
  lea (%edx, %edx), %eax
  sub 4(%esp), %eax
  ret
wraps:                     # ebx: near 4 GiB
  mov 0x10(%ebx), %eax
  mov %ebx, %ecx
  add $8, %ecx
  add 8(%ecx), %eax
  lret
based:                     # ebx: an address; ES gets a segment with a base of 8
  push %es
  mov (%ebx), %eax
  mov $0x50, %ecx
  mov %ecx, %es
  mov %es:(%ebx), %edx
  pop %es
  shl $8, %edx
  or %edx, %eax
  mov %es:4(%ebx), %edx
  shl $16, %edx
  or %edx, %eax
  lret
limited:                   # ebx: a selector for GS
  mov %ebx, %gs
  mov %gs:0x1000, %eax
  lret
either:                    # 64-bit code: inc rax. 32-bit code: dec eax; inc eax
  .byte 0x48, 0xff, 0xc0
  lret
upper:                     # upper halves of registers do not count, and are gone when a register is written
  mov (%ebx), %eax
  mov %ebx, %ebx
  lea 4(%ebx), %ecx
  add (%ecx), %eax
  lret
code_write:                # ebx: an address, which CS lets be read only
  mov %cs:(%ebx), %eax
  movl $1, %cs:(%ebx)
  lret
fills:                     # ebx: where
  mov %ebx, %edi
  mov $64, %ecx
  mov %ebx, %eax
  rep stosl
  mov %ebx, %esi
  lea 4(%ebx), %edi
  mov $63, %ecx
  movl $5, (%esi)
  rep movsl
  mov 252(%ebx), %eax
  lret
  .code64
)");

struct { u32 offset; u16 selector; } __attribute__((packed)) target;
static NOINLINE u64 far_call(u32 (*fn)(u32), u64 arg, u16 selector, u64 rax) {
  target.offset = (u32)(u64)fn;
  target.selector = selector;
  asm volatile("push %%rbp\n lcall *target\n pop %%rbp"
               : "+a"(rax), "+b"(arg)
               :: "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
  return rax;
}
static u64 call32(u32 (*fn)(u32), u64 arg) { return (u32)far_call(fn, arg, SEL_CODE32, 0); }
static void call_limited(u64 selector) { (void)call32(limited, selector); }

static void call_code_write(u64 at) { (void)call32(code_write, at); }

static u64 data_segment(u32 base, u32 limit, int granular) {
  return 0x0040930000000000ull | (granular ? 1ull << 55 : 0) | (limit & 0xffff) | (u64)(limit >> 16 & 15) << 48 |
         (u64)(base & 0xffffff) << 16 | (u64)(base >> 24) << 56;
}

void test(void) {
  cli();
  gdt[0][SEL_FREE / 8] = data_segment(8, 0xfffff, 1);
  gdt[0][SEL_FREE / 8 + 1] = data_segment(0, 0xfff, 0);
  gdt[0][SEL_FREE / 8 + 2] = data_segment(0x100000, 0xfffff, 1);
  static volatile u64 low = 4;  // what the compiler takes for no object
  AT(u32, low) = 40, AT(u32, low + 8) = 50;
  for (int i = 0; i < 40; ++i) {
    u32 sum = 0;
    for (int n = 0; n < 5; ++n) sum = sum + 1 + cell + words[2];
    CHECK_EQ(call32(sums, 5), sum);
    CHECK_EQ(call32(wraps, 0xfffffff4), 80);
    CHECK_EQ(call32(wraps, 0xfffffffc), 100);
    CHECK_EQ(call32(based, (u64)words), 0x20301);
    CHECK_EQ(try_call(call_limited, SEL_FREE + 16).vector, NO_TRAP);
    const struct Trap t = try_call(call_limited, SEL_FREE + 8);
    CHECK_EQ(t.vector, VEC_GP);
    CHECK_EQ(t.cs, SEL_CODE32);
    CHECK_EQ(try_call(call_code_write, (u64)words).vector, VEC_GP);
    CHECK_EQ(words[0], 1);
    CHECK_EQ(far_call(either, 0, SEL_CODE64, 0x1ffffffff), 0x200000000);
    CHECK_EQ((u32)far_call(either, 0, SEL_CODE32, 0x1ffffffff), 0xffffffff);
    CHECK_EQ(call32(upper, (u64)words | 0xabcd00000000), 3);
    CHECK_EQ(call32(fills, (u64)filled), 5);
  }
}
