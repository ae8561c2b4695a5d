/* Real mode: segment arithmetic, stack, 32-bit operands and addresses, interrupts through the IVT,
 * string instructions, then protected mode and 64-bit mode by hand.
 * @start real
 * @load 0x7c00
 */
  .code16
  .global _start
  .macro check cond
    j\cond 1f
    mov $(1 + \@), %al
    jmp fail
1:
  .endm
_start:
  mov $0x1000, %ax
  mov %ax, %ds
  movl $0x12345678, 0x20
  mov $0x1001, %bx
  mov %bx, %es
  cmpl $0x12345678, %es:0x10          // 1001:10 = 1000:20
  check e
  mov $0x10020, %ebx
  xor %ax, %ax
  mov %ax, %fs
  addr32 movw %fs:0x1234, %cx         // 32-bit addresses below the limit
  push $0x55aa
  pushl $0x11223344
  popl %edx
  cmp $0x11223344, %edx
  check e
  pop %dx
  cmp $0x55aa, %dx
  check e
  // INT through the IVT at 0
  movw $handler, %fs:0x60 * 4
  movw $0, %fs:0x60 * 4 + 2
  xor %si, %si
  mov %sp, %bp
  int $0x60
  cmp $0x77, %si
  check e
  cmp %sp, %bp
  check e
  // beyond the limit of a segment: #GP through the IVT, without an error code
  movw $gp_handler, %fs:13 * 4
  movw $0, %fs:13 * 4 + 2
  mov $0xffff, %bx
  xor %si, %si
  movw (%bx), %ax                     // two bytes at FFFFh
after_gp:
  cmp $0x99, %si
  check e
  // offsets wrap at 64 KiB in 16-bit addressing
  movb $0x5c, 0x0005
  mov $0xfff0, %bx
  cmpb $0x5c, 0x15(%bx)
  check e
  // far call
  lcall $0x7c0, $(far_proc - _start)
  cmp $0x3c, %al
  check e
  // to protected mode
  xor %ax, %ax
  mov %ax, %ds
  cli
  lgdtl gdtr
  mov %cr0, %eax
  or $1, %al
  mov %eax, %cr0
  ljmp $8, $protected
handler:
  mov $0x77, %si
  iret
gp_handler:
  mov $0x99, %si
  pop %ax
  push $after_gp
  iret
far_proc:
  mov $0x3c, %al
  lret
fail:
  mov $0xf4, %dx
  out %al, %dx
  hlt
  .code32
protected:
  mov $16, %eax
  mov %eax, %ds
  mov %eax, %ss
  mov $0x7000, %esp
  pushl $0x1234
  cmpl $0x1234, (%esp)
  jne fail32
  // one 1 GiB page, then 64-bit mode
  movl $0x3007, 0x2000
  movl $0x87, 0x3000
  mov %cr4, %eax
  or $0x20, %eax
  mov %eax, %cr4
  mov $0x2000, %eax
  mov %eax, %cr3
  mov $0xc0000080, %ecx
  rdmsr
  or $0x100, %eax
  wrmsr
  mov %cr0, %eax
  or $0x80000000, %eax
  mov %eax, %cr0
  ljmp $24, $long_mode
fail32:
  mov $0x32, %al
  mov $0xf4, %edx
  out %al, %dx
  .code64
long_mode:
  mov $0x123456789abcdef0, %rax
  mov %rax, %r9
  shr $32, %r9
  cmp $0x12345678, %r9d
  mov $0x64, %al
  jne 1f
  xor %eax, %eax
1:
  out %al, $0xf4
  hlt
  .balign 8
gdt:
  .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
gdtr:
  .word 31
  .long gdt
  .section .note.GNU-stack, "", @progbits
