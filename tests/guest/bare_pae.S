/* PAE paging: the PDPTE registers and when they are loaded, their reserved bits; PSE pages'
 * reserved bit (SDM vol. 3, 4.4.1, 4.3).
 * @start protected
 * @load 0x10000
 */
  .code32
  .global _start
  .set place, 0
  .set idt, 0x19000
  .set pdpt, 0x20000
  .set pd, 0x21000
  .set far, 0x40000000
  .macro check cond
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
  .macro reload_cr3
    mov %cr3, %eax
    mov %eax, %cr3
  .endm
_start:
  lgdtl gdtr
  lidtl idtr
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
  movl $0x83, pd                      // 0 and far to 0
  movl $pd + 1, pdpt
  movl $pd + 0x1e7, pdpt + 8          // reserved bits
  mov %cr4, %eax
  or $0x20, %eax
  mov %eax, %cr4
  mov $pdpt, %eax
  mov %eax, %cr3                      // paging is off: nothing is looked at
  mov %cr0, %ebx
  mov %ebx, %eax
  or $0x80000000, %eax
  expect 13 0
  mov %eax, %cr0
  expected
  mov %cr0, %eax
  cmp %ebx, %eax
  check e
  movl $0x1e6, pdpt + 8               // not present: whatever bits
  or $0x80000000, %eax
  mov %eax, %cr0
  expect 14 0
  mov far, %eax
  expected
  movl $pd + 1, pdpt + 8
  invlpg far
  expect 14 2
  movl $1, far + 0x5000               // the register is still not present
  expected
  reload_cr3
  movl $0x13579, far + 0x30000
  cmpl $0x13579, 0x30000
  check e
  movl $0, pdpt + 8
  invlpg far
  cmpl $0x13579, far + 0x30000        // still loaded
  check e
  movl $pd + 0x21, pdpt + 16          // reserved
  movl $0, pdpt + 12
  mov %cr3, %eax
  expect 13 0
  mov %eax, %cr3
  expected
  invlpg far
  cmpl $0x13579, far + 0x30000
  check e
  mov %cr4, %eax
  mov %eax, %ebx
  xor $0x80, %eax
  expect 13 0
  mov %eax, %cr4                      // PGE loads them too
  expected
  mov %cr4, %eax
  cmp %ebx, %eax
  check e
  movl $0, pdpt + 16
  mov %ebx, %eax
  xor $0x80, %eax
  mov %eax, %cr4
  expect 14 0
  mov far, %eax                       // now the second one is gone
  expected
  // 32-bit paging with 4 MiB pages
  mov %cr0, %eax
  and $0x7fffffff, %eax
  mov %eax, %cr0
  mov %cr4, %eax
  and $~0x20, %eax
  or $0x10, %eax
  mov %eax, %cr4
  movl $0x83, pd
  movl $0x200083, pd + 0x400          // far: bit 21 is reserved
  mov $pd, %eax
  mov %eax, %cr3
  mov %cr0, %eax
  or $0x80000000, %eax
  mov %eax, %cr0
  expect 14 9
  mov far, %eax
  expected
  movl $0x83, pd + 0x400
  cmpl $0x13579, far + 0x30000
  check e
  xor %eax, %eax
  out %al, $0xf4
fail:
  movl line, %eax
  out %al, $0xf4
  hlt

#include "bare_stubs.inc"
common:
  pop %ecx
  cmp wanted_vector, %ecx
  jne fail
  pop %ecx
  cmp wanted_error, %ecx
  jne fail
  mov saved_esp, %esp
  jmp *resume

  .balign 8
gdt:
  .quad 0
  .quad 0x00cf9b000000ffff   // 08 code
  .quad 0x00cf93000000ffff   // 10 data
gdtr:
  .word 3 * 8 - 1
  .long gdt
idtr:
  .word 0xff
  .long idt
wanted_vector: .long 0
wanted_error: .long 0
resume: .long 0
saved_esp: .long 0
line: .long 0
  .section .note.GNU-stack, "", @progbits
