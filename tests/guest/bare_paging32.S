/* 32-bit paging by 4 KiB and 4 MiB pages: A and D bits, rights of both levels with their error codes,
 * CR0.WP, SMEP, CR4.PSE; and ARPL, which only such code has (SDM vol. 3, 4.3, 4.6, 4.8).
 * @start protected
 * @load 0x10000
 */
  .code32
  .global _start
  .set place, 0
  .set idt, 0x19000
  .set directory, 0x20000
  .set table, 0x21000
  .set far, 0x40000000                // by 4 KiB pages: table
  .set place0, directory + 0x400      // the directory's entry for it
  .set second, table + 4              // the entry of far + 1000h
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
  // ARPL raises the RPL of the selector, and tells by ZF
  mov $0x10, %eax
  mov $0xffff0003, %edx
  arpl %dx, %ax
  check z
  cmp $0x13, %eax
  check e
  mov $2, %edx
  arpl %dx, %ax
  check nz
  cmp $0x13, %eax
  check e
  movl $0x5678fff0, scratch
  mov $1, %edx
  arpl %dx, scratch
  check z
  cmpl $0x5678fff1, scratch
  check e
  // the identity by a 4 MiB page; the second MiB-page's entry also, for level 3
  movl $0x87, directory
  movl $table + 0x07, place0
  movl $0x30007, table
  movl $0x31007, second
  mov %cr4, %eax
  or $0x10, %eax
  mov %eax, %cr4
  mov $directory, %eax
  mov %eax, %cr3
  mov %cr0, %eax
  or $0x80000000, %eax
  mov %eax, %cr0
  // A by reading, D by writing; in the directory A only
  mov far, %eax
  cmpl $table + 0x27, place0
  check e
  cmpl $0x30027, table
  check e
  movl $0x2468, far + 0xffc
  cmpl $0x30067, table
  check e
  cmpl $table + 0x27, place0
  check e
  cmpl $0x2468, 0x30ffc
  check e
  cmpl $0x31007, second
  check e
  testb $0x60, directory
  check nz
  // read-only: level 0 minds CR0.WP only
  .macro level0 pde, pte, error
    movl $table + \pde, place0
    movl $0x31000 + \pte, second
    invlpg far + 0x1000
    expect 14 \error
    movl $1, far + 0x1ffc
    expected
    cmpl $0x31000 + \pte, second      // refused: neither A nor D
    check e
  .endm
  movl $0x31005, second
  invlpg far + 0x1000
  movl $7, far + 0x1000
  cmpl $0x31065, second
  check e
  cmpl $7, 0x31000
  check e
  mov %cr0, %eax
  or $0x10000, %eax
  mov %eax, %cr0
  level0 0x27, 0x05, 3
  level0 0x25, 0x07, 3
  level0 0x25, 0x05, 3
  level0 0x27, 0x06, 2
  level0 0x26, 0x07, 2
  // level 3: U/S and R/W of both entries
  .macro level3 pde, pte, code, error
    movl $table + \pde, place0
    movl $0x31000 + \pte, second
    invlpg far + 0x1000
    expect 14 \error
    pushl $0x23
    pushl $0x78000
    pushl $2
    pushl $0x1b
    pushl $\code
    iretl
    expected
  .endm
  movl $table + 0x27, place0
  invlpg far
  level3 0x23, 0x07, reader, 5
  level3 0x27, 0x03, reader, 5
  level3 0x27, 0x05, writer, 7
  level3 0x25, 0x07, writer, 7
  level3 0x27, 0x06, writer, 6
  level3 0x27, 0x06, reader, 4
  movl $0x31007, second
  movl $table + 0x27, place0
  invlpg far + 0x1000
  expect 3 0                          // allowed: INT3 behind it is refused (DPL 0)
  movl $13, wanted_vector
  movl $26, wanted_error              // 3 * 8 + IDT
  pushl $0x23
  pushl $0x78000
  pushl $2
  pushl $0x1b
  pushl $writer
  iretl
  expected
  cmpl $0x31067, second
  check e
  // SMEP: no code of level 3 at level 0
  mov $7, %eax
  xor %ecx, %ecx
  cpuid
  test $0x80, %ebx
  jz 4f
  movb $0xc3, far + 0x1000            // RET
  mov $far + 0x1000, %ebx
  call *%ebx

  movl $0x83, directory
  mov %cr3, %eax
  mov %eax, %cr3
  mov %cr4, %eax
  or $0x100000, %eax
  mov %eax, %cr4
  expect 14 0x11
  call *%ebx
  expected
  mov %cr4, %eax
  and $~0x100000, %eax
  mov %eax, %cr4
4:
  // without CR4.PSE the PS bit means nothing
  movl $table + 0xa7, place0
  mov %cr3, %eax
  mov %eax, %cr3
  mov $0x31000, %ebx
  movl $0x99, (%ebx)
  movl $0x11223344, 0x30000
  mov %cr4, %eax
  // the identity by a table of its own, as its large page is none either
  mov $0x22000, %edi
  mov $3, %edx
  mov $1024, %ecx
3:
  mov %edx, (%edi)
  add $0x1000, %edx
  add $4, %edi
  loop 3b
  movl $0x22083, directory
  and $~0x10, %eax
  mov %eax, %cr4
  mov %cr3, %ecx
  mov %ecx, %cr3
  cmpl $0x11223344, far
  check e
  xor %eax, %eax
  out %al, $0xf4
fail:
  movl line, %eax
  out %al, $0xf4
  hlt

  .balign 16
reader:
  mov $0x23, %eax                     // IRET took DS away
  mov %eax, %ds
  mov far + 0x1000, %eax
  int3
writer:
  mov $0x23, %eax
  mov %eax, %ds
  movl $5, far + 0x1000
  int3
scratch: .long 0

#include "bare_paging.inc"
