/* Corner cases of real mode: limits that stay from protected mode, stack and segment ends, the
 * IVT's limit, addresses above 1 MiB, the end of the code segment, single step, a 32-bit stack.
 * @start real
 * @load 0x7c00
 */
  .code16
  .global _start
  .set place, 0
  .macro check cond
    .set place, place + 1
    movb $place, %fs:line
    j\cond .Lok\@
    jmp fail
.Lok\@:
  .endm
  // The instruction that follows must raise VECTOR with IP at it
  .macro expect vector
    .set place, place + 1
    movb $place, %fs:line
    movb $\vector, %fs:wanted
    movw $1f, %fs:wanted_ip
    movw $2f, %fs:resume
    mov %esp, %fs:saved_esp
1:
  .endm
  .macro expected
    jmp fail
2:
  .endm
_start:
  xor %ax, %ax
  mov %ax, %fs
  mov %ax, %ds
  mov %ax, %es
  mov $0x7000, %sp
  mov $stubs, %ax                     // IVT: vectors 0-31
  xor %di, %di
  mov $32, %cx
1:
  mov %ax, (%di)
  movw $0, 2(%di)
  add $4, %di
  add $8, %ax
  loop 1b

  mov $0xffff, %ax                    // FFFF:0010 is 1 MiB
  mov %ax, %es
  movl $0x600d600d, %es:0x10
  // beyond 64 KiB: #GP, until protected mode has loaded a larger limit
  mov $0x10000, %ebx
  expect 13
  movb (%ebx), %al
  expected
  cli
  lgdtl gdtr
  mov %cr0, %eax
  or $1, %al
  mov %eax, %cr0
  mov $8, %cx
  mov %cx, %ds
  and $0xfe, %al
  mov %eax, %cr0
  xor %ax, %ax
  mov %ax, %ds                        // the limit stays, the base is 0
  mov $0x100000, %ebx
  cmpl $0x600d600d, (%ebx)
  check e
  mov $0x10, %ax
  mov %ax, %ds
  cmpl $0x600d600d, -0x100(%ebx)      // selector * 16
  check e
  xor %ax, %ax
  mov %ax, %ds

  // the ends of segments
  expect 13
  movw %es:0xffff, %ax
  expected
  mov %sp, %bp
  mov $0x1000, %dx
  mov %dx, %ss
  mov $2, %sp
  push %ax                            // to 0
  test %sp, %sp
  check z
  push %ax                            // wraps to FFFE
  cmp $0xfffe, %sp
  check e
  mov %bp, %sp
  mov $0xffff, %bp
  expect 12
  movw (%bp), %ax                     // SS:FFFF
  expected
  xor %dx, %dx
  mov %dx, %ss

  // the last bytes of the code segment
  movb $0xb8, %fs:0xfffe              // MOV AX, imm16: one byte is beyond
  mov $0xfffe, %ax
  movb $13, %fs:wanted
  movw %ax, %fs:wanted_ip
  movw $2f, %fs:resume
  mov %esp, %fs:saved_esp
  movb $50, %fs:line
  jmp *%ax
2:
  // IVT limit: vectors up to 13 only
  lidtl short_ivt
  expect 13
  int $0x20
  expected
  lidtl whole_ivt

  // single step: after the instruction that follows POPF
  movw $stepped, %fs:4
  xor %cx, %cx
  pushf
  pop %ax
  or $0x100, %ax
  push %ax
  popf
  inc %cx
after_inc:
  inc %cx
  inc %cx
  cmp $3, %cx
  check e
  cmpw $after_inc, %fs:step_ip
  check e

  // stack of 32 bits, from protected mode
  mov %cr0, %eax
  or $1, %al
  mov %eax, %cr0
  mov $8, %cx
  mov %cx, %ss
  and $0xfe, %al
  mov %eax, %cr0
  xor %cx, %cx
  mov %cx, %ss
  mov $0x20000, %esp
  push %ax
  cmp $0x1fffe, %esp
  check e
  xor %al, %al
  mov $0xf4, %dx
  out %al, %dx
fail:
  mov %fs:line, %al
  mov $0xf4, %dx
  out %al, %dx
  hlt
stepped:
  pop %ax
  mov %ax, %fs:step_ip
  push %ax
  mov %sp, %bp
  andw $~0x100, %ss:4(%bp)
  pushf
  pop %ax
  test $0x100, %ax                    // TF is off in here
  jnz fail
  iret
  .altmacro
  .macro stub n
  .balign 8
    pushw $\n
    jmp common
  .endm
  .balign 8
stubs:
  .set i, 0
  .rept 32
    stub %i
    .set i, i + 1
  .endr
common:
  pop %cx
  cmp %cl, %fs:wanted
  jne fail
  pop %cx
  cmp %cx, %fs:wanted_ip
  jne fail
  mov %fs:saved_esp, %esp
  jmp *%fs:resume
  .balign 8
gdt:
  .quad 0, 0x00cf93000000ffff
gdtr:
  .word 15
  .long gdt
short_ivt:
  .word 14 * 4 - 1
  .long 0
whole_ivt:
  .word 0x3ff
  .long 0
line: .byte 0
wanted: .byte 0
wanted_ip: .word 0
resume: .word 0
step_ip: .word 0
saved_esp: .long 0
  .section .note.GNU-stack, "", @progbits
