/* Privilege changes in 32-bit mode: call gates with parameters and the stack of the TSS, 16-bit
 * gates, conforming segments, RET and IRET to outer levels, what they do to data segments; faults of each
 * (SDM vol. 3, 5.8).
 * @start protected
 * @load 0x10000
 */
  .code32
  .global _start
  .set place, 0
  .set idt, 0x19000
  .set tss, 0x18000
  .macro check cond
    .set place, place + 1
    movl $place, line
    j\cond .Lok\@
    jmp fail
.Lok\@:
  .endm
  // As in the other programs, from any level: the handler comes back at level 0
  .macro expect vector, error
    .set place, place + 1
    movl $\vector, wanted_vector
    movl $\error, wanted_error
    movl $2f, resume
    movl $place, line
  .endm
  .macro expected
    jmp fail
2:
  .endm
  .macro to_user entry
    push $0x3b
    push $0x60000
    push $0x33
    push $\entry
    lret
  .endm
  .macro gate number, entry
    mov $\entry, %eax
    mov %ax, gdt + \number
    shr $16, %eax
    mov %ax, gdt + \number + 6
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
  mov $0x70000, %esp
  mov $idt, %edi
  mov $stubs, %eax
  mov $32, %ecx
1:
  mov %ax, (%edi)
  movw $8, 2(%edi)
  movw $0xee00, 4(%edi)
  mov %eax, %edx
  shr $16, %edx
  mov %dx, 6(%edi)
  add $8, %edi
  add $16, %eax
  loop 1b
  movl $0x7f000, tss + 4
  movl $0x10, tss + 8
  movl $0x7e000, tss + 12             // level 1
  movl $0x51, tss + 16
  movw $0x68, tss + 102
  mov $0x18, %eax
  ltr %ax
  gate 0x20, inner
  movw $inner16 - _start, gdt + 0x28
  gate 0x40, level1
  gate 0x60, same

  // conforming code keeps the level, whatever RPL
  lcall $0x58, $conforming
  cmp $0x58, %ecx
  check e
  lcall $0x60, $0                     // a gate to the same level
  cmp $0x77, %edx
  check e

  to_user user
user:
  mov %ds, %ecx                       // dropped: of level 0
  jecxz 1f
  mov $0x3b, %ecx
  jmp fail3
1:
  mov $0x3b, %ecx
  mov %ecx, %ds
  mov %ecx, %es
  mov %cs, %eax
  cmp $0x33, %eax
  check e
  mov $0x60000, %ecx
  cmp %ecx, %esp
  check e
  push $0x1111
  push $0x2222
  lcall $0x23, $0                     // two parameters, level 0
  cmp $0x60000, %esp                  // released on this stack too
  check e
  cmp $0x2222, %ebx
  check e
  cmp $0x1111, %esi
  check e
  lcall $0x2b, $0                     // through a 16-bit gate
  jmp fail
after16:
  cmp $0x60000, %esp
  check e
  mov %cs, %eax
  cmp $0x33, %eax
  check e
  lcall $0x43, $0                     // to level 1
  cmp $0x7e000 - 16, %edi
  check e
  lcall $0x58, $conforming            // at level 3 now
  cmp $0x5b, %ecx
  check e
  expect 13 8
  ljmp $8, $fail                      // level 0 is not for us
  expected
  to_user u1
u1:
  call user_segments
  expect 13 0x48
  lcall $0x48, $0                     // a gate of level 0
  expected
  to_user u2
u2:
  call user_segments
  expect 11 0x68
  lcall $0x6b, $0                     // a gate that is not present
  expected
  to_user u3
u3:
  call user_segments
  movl $0x50, tss + 16                // a bad RPL of the stack for level 1
  expect 10 0x50
  lcall $0x43, $0
  expected
  movl $0x51, tss + 16
  to_user u4
u4:
  call user_segments
  movl $8, tss + 12                   // a stack with no room wraps below zero: beyond the limit
  movl $0x71, tss + 16
  expect 12 0x70
  lcall $0x43, $0
  expected
  // RET to an inner level
  to_user u5
u5:
  call user_segments
  push $8
  push $fail
  expect 13 8
  lret
  expected
  // IRET to level 3 with a bad stack
  push $0x10
  push $0x60000
  push $2
  push $0x33
  push $fail
  expect 13 0x10
  iret
  expected
  xor %eax, %eax
  out %al, $0xf4
  hlt
fail3:
  mov %ecx, %ds
fail:
  movl $0, wanted_vector
  ud2                                 // level 0 tells the line

user_segments:
  mov $0x3b, %ecx
  mov %ecx, %ds
  mov %ecx, %es
  ret
conforming:
  mov %cs, %ecx
  lret
same:
  mov $0x77, %edx
  lret
inner:                                // level 0: EIP CS params ESP SS
  mov %esp, %eax
  cmp $0x7f000 - 24, %eax
  check e
  mov 8(%esp), %ebx
  mov 12(%esp), %esi
  cmpl $0x60000 - 8, 16(%esp)
  check e
  cmpl $0x3b, 20(%esp)
  check e
  cmpl $0x33, 4(%esp)
  check e
  mov %cs, %eax
  cmp $8, %eax
  check e
  lret $8
inner16:                              // IP CS SP SS
  cmp $0x7f000 - 8, %esp
  check e
  cmpw $0x33, 2(%esp)
  check e
  cmpw $0, 4(%esp)
  check e
  // IP and SP are cut to 16 bits: a 32-bit frame takes their place
  mov $0x7f000 - 16, %esp
  movl $after16, (%esp)
  movl $0x33, 4(%esp)
  movl $0x60000, 8(%esp)
  movl $0x3b, 12(%esp)
  lret
level1:
  mov %esp, %edi
  mov %cs, %eax
  cmp $0x89, %eax
  check e
  lret

#include "bare_stubs.inc"
common:
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  pop %eax
  cmp wanted_vector, %eax
  jne 1f
  pop %eax
  cmp wanted_error, %eax
  jne 1f
  mov $0x10, %eax
  mov %eax, %ss
  mov $0x70000, %esp
  jmp *resume
1:
  mov line, %eax
  out %al, $0xf4
  hlt

  .balign 8
gdt:
  .quad 0
  .quad 0x00cf9b000000ffff   // 08 code
  .quad 0x00cf93000000ffff   // 10 data
  .quad 0x0000890180000067   // 18 TSS
  .quad 0x0000ec0200080000   // 20 call gate, level 3, two parameters
  .quad 0x0000e40000780000   // 28 16-bit call gate
  .quad 0x00cffb000000ffff   // 30 code of level 3
  .quad 0x00cff3000000ffff   // 38 data of level 3
  .quad 0x0000ec0000880000   // 40 call gate to level 1
  .quad 0x00008c0000080000   // 48 call gate of level 0
  .quad 0x00cfb3000000ffff   // 50 data of level 1
  .quad 0x00cf9f000000ffff   // 58 conforming code
  .quad 0x0000ec0000080000   // 60 call gate to level 0
  .quad 0x00006c0000080000   // 68 not present
  .quad 0x0040b3000000000f   // 70 data of level 1, 16 bytes
  .quad 0x00409b010000ffff   // 78 code at 10000h, for the 16-bit gate
  .quad 0
  .quad 0x00cfbb000000ffff   // 88 code of level 1
gdtr:
  .word 18 * 8 - 1
  .long gdt
idtr:
  .word 0xff
  .long idt
wanted_vector: .long 0
wanted_error: .long 0
resume: .long 0
line: .long 0
  .section .note.GNU-stack, "", @progbits
