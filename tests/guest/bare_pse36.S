/* PSE-36: 4 MiB pages of 32-bit paging above 4 GiB, by bits 20-13 of their entry; reading, writing, executing
 * and crossing them, A and D, bit 21, which is reserved, with the error codes; and that PAE paging sees the same
 * memory there (SDM vol. 3, 4.3, table 4-4).
 * @start protected
 * @load 0x10000
 * @highmem 16
 */
  .code32
  .global _start
  .set place, 0
  .set idt, 0x19000
  .set directory, 0x20000
  .set pdpt, 0x21000
  .set pd, 0x22000
  .set far, 0x40000000                // 4 GiB
  .set far2, 0x40400000               // 4 GiB + 4 MiB
  .set alias, 0x50000000              // 4 GiB again
  .set bad, 0x60000000
  .set far_entry, directory + 0x400
  .set far2_entry, directory + 0x404
  .set alias_entry, directory + 0x500
  .set bad_entry, directory + 0x600
  .set high, 1 << 13
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
  mov $task, %eax
  mov %ax, task_entry + 2
  shr $16, %eax
  mov %al, task_entry + 4
  mov $0x28, %eax
  ltr %ax
  movl $1, %eax
  cpuid
  test $1 << 17, %edx                 // PSE-36 is told
  check nz
  movl $0x87, directory
  movl $high + 0x87, far_entry
  movl $high + 0x400087, far2_entry
  movl $high + 0x87, alias_entry
  mov %cr4, %eax
  or $0x10, %eax
  mov %eax, %cr4
  mov $directory, %eax
  mov %eax, %cr3
  mov %cr0, %eax
  or $0x80010000, %eax                // PG, WP
  mov %eax, %cr0
  // what is low is not what is high; A by reading, D by writing
  movl $0x1111, 0x31234
  mov far + 0x31234, %eax
  cmpl $high + 0xa7, far_entry
  check e
  movl $0x2222, far + 0x31234
  cmpl $high + 0xe7, far_entry
  check e
  cmpl $0x1111, 0x31234
  check e
  cmpl $high + 0x87, alias_entry
  check e
  cmpl $0x2222, alias + 0x31234
  check e
  cmpl $high + 0xa7, alias_entry
  check e
  // across two of them
  movl $0x33445566, far2 - 2
  cmpw $0x5566, alias + 0x3ffffe
  check e
  cmpw $0x3344, far2
  check e
  lock incl far2 - 2
  cmpl $0x33445567, far2 - 2
  check e
  // code there, often enough to be translated, and then changed by its other name
  movl $0xc3c00140, far + 0x5000      // inc %eax; add %eax, %eax; ret
  mov $far + 0x5000, %ebx
  .rept 2
    mov $300, %ecx
3:
    mov $7, %eax
    call *%ebx
    loop 3b
    cmp $16, %eax
    check e
    mov $alias + 0x5000, %ebx
  .endr
  movl $0xc3c00148, alias + 0x5000    // dec %eax
  mov $far + 0x5000, %ebx
  mov $7, %eax
  call *%ebx
  cmp $12, %eax
  check e
  // read-only, then not for level 3
  movl $high + 0x85, far_entry
  invlpg far
  expect 14 3
  movl $1, far
  expected
  cmpl $high + 0x85, far_entry
  check e
  movl $high + 0x83, far_entry
  invlpg far
  expect 14 5
  call read_at_level_3
  expected
  movl $high + 0x87, far_entry
  // bit 21 is reserved, whatever the rights are
  .irp flags, 0x83, 0x87, 0x81
    movl $high + 0x200000 + \flags, bad_entry
    invlpg bad
    expect 14 0x09
    mov bad, %eax
    expected
    expect 14 0x0b
    movl $1, bad
    expected
    mov %cr2, %eax
    cmp $bad, %eax
    check e
    cmpl $high + 0x200000 + \flags, bad_entry
    check e
  .endr
  expect 14 0x0d
  mov $bad - far, %eax
  call read_at_level_3
  expected
  movl $high + 0x200086, bad_entry    // not present: no bit is reserved
  invlpg bad
  expect 14 0x00
  mov bad, %eax
  expected
  // PAE paging: 4 GiB is 4 GiB
  mov %cr0, %eax
  and $~0x80000000, %eax
  mov %eax, %cr0
  movl $pd + 1, pdpt
  movl $0, pdpt + 4
  movl $pd + 0x1001, pdpt + 8
  movl $0, pdpt + 12
  movl $0, pdpt + 16
  movl $0, pdpt + 20
  movl $0, pdpt + 24
  movl $0, pdpt + 28
  movl $0x83, pd
  movl $0, pd + 4
  movl $0x83, pd + 0x1000
  movl $1, pd + 0x1004
  mov %cr4, %eax
  or $0x20, %eax
  mov %eax, %cr4
  mov $pdpt, %eax
  mov %eax, %cr3
  mov %cr0, %eax
  or $0x80000000, %eax
  mov %eax, %cr0
  cmpl $0x2222, far + 0x31234
  check e
  cmpl $0x1111, 0x31234
  check e
  xor %eax, %eax
  out %al, $0xf4
fail:
  movl line, %eax
  out %al, $0xf4
  hlt

// Reads far + EAX.
read_at_level_3:
  pushl $0x23
  pushl $0x78000
  pushl $2
  pushl $0x1b
  pushl $4f
  iretl
4:
  mov $0x23, %ebx
  mov %ebx, %ds
  mov far(%eax), %eax
  int3

#include "bare_paging.inc"
