/* Hardware task switches: CALL, JMP and IRET to a TSS, task gates in GDT and IDT, busy bits, links,
 * error codes, a 16-bit task, faults before and after the switch, the T bit (SDM vol. 3, ch. 7).
 * @start protected
 * @load 0x10000
 */
  .code32
  .global _start
  .set place, 0
  .set tss_main, 0x18000
  .set tss_a, 0x18100
  .set tss_16, 0x18200
  .set tss_bad, 0x18300
  .set idt, 0x19000
  .macro check cond          // the status names the place that failed
    .set place, place + 1
    movl $place, line
    j\cond .Lok\@
    jmp fail
.Lok\@:
  .endm
  .macro expect vector, error
    .set place, place + 1
    movl $\vector, wanted_vector
    movl $\error, wanted_error
    movl $2f, resume
    movl $place, line
    movl %esp, saved_esp
  .endm
  .macro expected
    jmp fail
2:
  .endm
  .macro make_task tss, entry, stack
    movl $\entry, \tss + 0x20
    movl $2, \tss + 0x24
    movl $\stack, \tss + 0x38
    .irp at, 0x48, 0x50, 0x54, 0x58, 0x5c
      movl $0x10, \tss + \at
    .endr
    movl $8, \tss + 0x4c
  .endm
  .macro check_nt cond
    pushf
    pop %eax
    test $0x4000, %eax
    check \cond
  .endm
_start:
  lgdtl gdtr
  lidtl idtr
  ljmp $8, $1f
1:
  mov $0x10, %eax
  .irp seg, ds, es, ss, fs, gs
    mov %eax, %\seg
  .endr
  mov $idt, %edi
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
  mov $0x18, %eax
  ltr %ax
  make_task tss_a, task_a, 0x70000
  movl $0x1234, tss_a + 0x34          // EBX

  mov $0xabcd, %esi
  lcall $0x20, $0                     // the offset does not count
  cmp $0xabcd, %esi
  check e
  cmpl $1, stage
  check e
  cmpb $0x89, gdt + 0x25              // available again
  check e
  cmpb $0x8b, gdt + 0x1d
  check e
  str %ax
  cmp $0x18, %ax
  check e
  check_nt z
  ljmp $0x20, $0
  cmpl $2, stage
  check e
  lcall $0x48, $0                     // a task gate
  cmpl $3, stage
  check e
  movl $0x00200000, idt + 0x40 * 8    // task gate
  movl $0x00008500, idt + 0x40 * 8 + 4
  int $0x40
  cmpl $4, stage
  check e
  pushl idt + 13 * 8
  pushl idt + 13 * 8 + 4
  movl $0x00200000, idt + 13 * 8
  movl $0x00008500, idt + 13 * 8 + 4
  mov $0x100, %eax
  mov %eax, %es                       // #GP: the task steps over these two bytes
  popl idt + 13 * 8 + 4
  popl idt + 13 * 8
  cmpl $5, stage
  check e

  expect 13 0x18
  lcall $0x18, $0                     // busy: itself
  expected
  expect 11 0x38
  ljmp $0x38, $0                      // not present
  expected
  expect 10 0x40
  lcall $0x40, $0                     // too short
  expected
  expect 11 0x50
  lcall $0x50, $0                     // a gate that is not present
  expected
  expect 13 0x10
  lcall $0x60, $0                     // a gate to a data segment
  expected
  movw $0x10, tss_main
  pushf
  orl $0x4000, (%esp)
  popf
  expect 10 0x10
  iret                                // the link names no TSS
  expected

  // 16-bit task
  movw $task_16 - _start, tss_16 + 0x0e
  movw $2, tss_16 + 0x10
  movw $0x5555, tss_16 + 0x18         // BX
  movw $0x8000, tss_16 + 0x1a
  movw $0x10, tss_16 + 0x22
  movw $0x58, tss_16 + 0x24
  movw $0x10, tss_16 + 0x26
  movw $0x10, tss_16 + 0x28
  lcall $0x28, $0
  cmpl $6, stage
  check e
  cmpw $0x18, tss_16                  // its link
  check e

  // a bad selector is found after the switch: the fault is the new task's
  make_task tss_bad, fail, 0x60000
  movl $0x100, tss_bad + 0x54
  expect 10 0x100
  ljmp $0x30, $0
  expected
  str %ax
  cmp $0x30, %ax
  check e
  cmpb $0x89, gdt + 0x1d
  check e
  movl $back, tss_main + 0x20
  ljmp $0x18, $0
back:
  str %ax
  cmp $0x18, %ax
  check e

  movw $1, tss_a + 0x64               // T: #DB before its first instruction
  expect 1 0
  lcall $0x20, $0
  expected
  mov %dr6, %eax
  test $0x8000, %eax
  check nz
  str %ax
  cmp $0x20, %ax
  check e
  movl $back2, tss_main + 0x20
  pushf
  orl $0x4000, (%esp)
  popf
  iret
back2:
  xor %eax, %eax
  out %al, $0xf4
fail:
  movl line, %eax
  out %al, $0xf4
  hlt

task_a:                               // by CALL
  check_nt nz
  cmpw $0x18, tss_a
  check e
  cmp $0x1234, %ebx
  check e
  mov %cr0, %eax
  test $8, %al
  check nz
  clts
  cmpb $0x8b, gdt + 0x1d
  check e
  cmpb $0x8b, gdt + 0x25
  check e
  cmpl $0xabcd, tss_main + 0x40       // ESI as saved
  check e
  str %ax
  cmp $0x20, %ax
  check e
  movl $1, stage
  iret
  check_nt z                          // by JMP
  cmpb $0x89, gdt + 0x1d
  check e
  cmp $0x1234, %ebx
  check e
  movl $2, stage
  ljmp $0x18, $0
  check_nt nz                         // by task gate
  movl $3, stage
  iret
  check_nt nz                         // by interrupt
  movl $4, stage
  iret
  pop %eax                            // by an exception with an error code
  cmp $0x100, %eax
  check e
  testl $0x10000, tss_main + 0x24     // RF in the saved flags: a fault
  check nz
  addl $2, tss_main + 0x20
  movl $5, stage
  iret
  jmp fail

  .code16
task_16:
  cmp $0x5555, %bx
  jne 1f
  addr32 movl $6, stage
1:
  iret

  .code32
#include "bare_stubs.inc"
common:
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  pop %eax
  cmp wanted_vector, %eax
  jne fail
  pop %eax
  cmp wanted_error, %eax
  jne fail
  mov saved_esp, %esp
  jmp *resume

  .balign 8
gdt:
  .quad 0
  .quad 0x00cf9b000000ffff   // 08 code
  .quad 0x00cf93000000ffff   // 10 data
  .quad 0x0000890180000067   // 18 main
  .quad 0x0000890181000067   // 20 task A
  .quad 0x000081018200002b   // 28 16-bit task
  .quad 0x0000890183000067   // 30 task with a bad selector
  .quad 0x0000090181000067   // 38 not present
  .quad 0x0000890181000066   // 40 limit too small
  .quad 0x0000850000200000   // 48 task gate to A
  .quad 0x0000050000200000   // 50 task gate, not present
  .quad 0x00009b010000ffff   // 58 16-bit code at 10000h
  .quad 0x0000850000100000   // 60 task gate to a data segment
gdtr:
  .word 13 * 8 - 1
  .long gdt
idtr:
  .word 0x7ff
  .long idt
wanted_vector: .long 0
wanted_error: .long 0
resume: .long 0
saved_esp: .long 0
line: .long 0
stage: .long 0
  .section .note.GNU-stack, "", @progbits
