// Entry by the PVH protocol (Xen, docs/misc/pvh.pandoc): 32-bit protected mode without paging. Goes to
// 64-bit mode with the first GiB mapped and on to the runtime.
  .section .start, "ax"
  .code32
  .global pvh_entry
pvh_entry:
  cli
  lgdt gdtr
  mov $0x20, %eax
  mov %eax, %cr4
  mov $pml4, %eax
  mov %eax, %cr3
  mov $0xc0000080, %ecx
  mov $0x901, %eax
  xor %edx, %edx
  wrmsr
  mov $0x80010033, %eax
  mov %eax, %cr0
  ljmp $0x08, $entry64
  .code64
entry64:
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov %cr4, %rax
  or $0x600, %rax
  mov %rax, %cr4
  jmp _start

  .data
  .balign 8
gdt_first:
  .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdtr:
  .word 23
  .long gdt_first
  .balign 4096
pml4:
  .quad pdpt + 3
  .skip 4088
pdpt:
  .quad pd + 3
  .skip 4088
pd:
  .set page, 0
  .rept 512
    .quad page * 0x200000 + 0x83
    .set page, page + 1
  .endr

  .section .note.Xen, "a", @note
  .balign 4
  .long 4, 4, 18  // XEN_ELFNOTE_PHYS32_ENTRY
  .asciz "Xen"
  .long pvh_entry
  .section .note.GNU-stack, "", @progbits
