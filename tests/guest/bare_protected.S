/* 32-bit protected mode: segment limits (expand-up, expand-down, byte and page granular), types,
 * null and bad selectors, #SS and #GP, stack width, task-free interrupt through a 32-bit gate.
 * @start protected
 * @load 0x10000
 */
  .code32
  .global _start
  // expect VECTOR ERROR: the instruction that follows must fault so
  .macro expect vector, error
    movl $\vector, wanted_vector
    movl $\error, wanted_error
    movl $2f, resume
    movl $(1 + \@), line
    movl %esp, saved_esp
  .endm
  .macro expected
    jmp fail
2:
  .endm
_start:
  lgdtl gdtr
  lidtl idtr
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov $idt, %edi          // gates for vectors 0-31: 32-bit interrupt gates
  mov $stubs, %eax
  mov $32, %ecx
1:
  mov %ax, (%edi)
  movw $8, 2(%edi)
  movw $0x8e00, 4(%edi)
  mov %eax, %edx
  shr $16, %edx
  mov %dx, 6(%edi)
  add $8, %edi
  add $16, %eax
  loop 1b

  mov $0x18, %eax         // limit FFFh, expand-up
  mov %eax, %es
  movb $1, %es:0xfff
  expect 13 0
  movb $1, %es:0x1000
  expected
  expect 13 0
  movw $1, %es:0xfff
  expected
  mov $0x20, %eax         // expand-down: valid above FFFh
  mov %eax, %es
  movb $1, %es:0x1000
  expect 13 0
  movb $1, %es:0xfff
  expected
  mov $0x28, %eax         // read-only
  mov %eax, %es
  movb %es:0, %al
  expect 13 0
  movb $1, %es:0
  expected
  expect 13 0
  movb $1, %cs:0
  expected
  xor %eax, %eax          // null: loads, then faults at use
  mov %eax, %es
  expect 13 0
  movb %es:0, %al
  expected
  xor %eax, %eax
  expect 13 0
  mov %eax, %ss
  expected
  expect 13 0x100
  mov $0x100, %eax        // beyond the GDT
  mov %eax, %es
  expected
  expect 11 0x30
  mov $0x30, %eax         // not present
  mov %eax, %es
  expected
  expect 12 0x30
  mov $0x30, %eax
  mov %eax, %ss
  expected
  expect 13 0x28
  mov $0x28, %eax         // SS must be writable
  mov %eax, %ss
  expected
  expect 12 0
  mov $0x18, %eax
  mov %eax, %ss
  mov $0x800, %esp        // the handler's frame has to fit
  movl %eax, %ss:0x1000
  expected
  mov $0x10, %eax
  mov %eax, %ss
  // a stack of 16 bits: only SP counts
  mov %esp, %ebx
  mov $0x38, %eax
  mov %eax, %ss
  mov $0x12340008, %esp
  push %eax
  cmp $0x12340004, %esp
  mov %esp, %ecx
  mov $0x10, %eax
  mov %eax, %ss
  mov %ebx, %esp
  movl $101, line
  cmp $0x12340004, %ecx
  jne fail
  // far call and return, INTO, BOUND
  lcall $8, $far_proc
  cmp $0x5a, %al
  jne fail
  expect 4 0
  mov $0x7f, %al
  add $1, %al
  into
  expected
  expect 5 0
  mov $9, %eax
  bound %eax, bounds
  expected
  xor %eax, %eax
  out %al, $0xf4
far_proc:
  mov $0x5a, %al
  lret
fail:
  movl line, %eax          // which expectation: the status
  out %al, $0xf4
  hlt

#include "bare_stubs.inc"
common:
  mov $0x10, %eax
  mov %eax, %ds
  pop %eax
  cmp wanted_vector, %eax
  jne fail
  pop %eax
  cmp wanted_error, %eax
  jne fail
  mov $0x10, %eax
  mov %eax, %ss
  mov saved_esp, %esp
  jmp *resume

  .balign 8
gdt:
  .quad 0
  .quad 0x00cf9b000000ffff   // 08 code
  .quad 0x00cf93000000ffff   // 10 data
  .quad 0x0040930200000fff   // 18 data at 20000h, limit FFFh
  .quad 0x0040970200000fff   // 20 expand-down at 20000h
  .quad 0x00cf91000000ffff   // 28 read-only
  .quad 0x00cf13000000ffff   // 30 not present
  .quad 0x000093020000ffff   // 38 16-bit stack at 20000h
gdtr:
  .word 63
  .long gdt
idtr:
  .word 255
  .long idt
bounds: .long 0, 8
wanted_vector: .long 0
wanted_error: .long 0
resume: .long 0
saved_esp: .long 0
line: .long 0
  .balign 8
idt: .fill 256, 1, 0
  .section .note.GNU-stack, "", @progbits
