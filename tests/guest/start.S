// First instructions, trap entries, way to CPL 3 and back, and the start-up code of other vCPUs.
  .section .start, "ax"
  .global _start
_start:
  mov $boot_stack_top, %rsp
  xor %ebp, %ebp
  call rt_main
  hlt

  .text
  .altmacro
  .macro stub n
  .balign 16
  .if (\n == 8) || (\n >= 10 && \n <= 14) || (\n == 17) || (\n == 21)
  .else
    push $0
  .endif
  push $\n
  jmp trap_common
  .endm

  .global trap_stubs
  .balign 16
trap_stubs:
  .set i, 0
  .rept 256
    stub %i
    .set i, i + 1
  .endr
  .balign 16

trap_common:
  .irp r, rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
    push %\r
  .endr
  cld
  mov %rsp, %rdi
  mov %rsp, %rbx
  and $-16, %rsp
  call trap_entry
  mov %rbx, %rsp
  .irp r, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax
    pop %\r
  .endr
  add $16, %rsp
  iretq

// try_enter(u64* rsp_out, fn, arg): a trap comes back at try_resume with rsp = *rsp_out.
  .global try_enter, try_resume
try_enter:
  .irp r, rbx, rbp, r12, r13, r14, r15
    push %\r
  .endr
  mov %rsp, (%rdi)
  mov %rsi, %rax
  mov %rdx, %rdi
  cld
  sub $8, %rsp
  call *%rax
  add $8, %rsp
try_resume:
  .irp r, r15, r14, r13, r12, rbp, rbx
    pop %\r
  .endr
  ret

// enter_user(rip, rsp, arg)
  .global enter_user
enter_user:
  push $0x2b
  push %rsi
  push $0x202
  push $0x33
  push %rdi
  mov %rdx, %rdi
  iretq

  .section .user.special, "ax"
  .global user_end
user_end:
  int $0x80

// Real mode -> 32-bit protected mode -> 64-bit mode, copied to 8000h.
  .text
  .global ap_code, ap_code_end
  .set AP, 0x8000
  .code16
ap_code:
  cli
  mov %cs, %ax
  mov %ax, %ds
  lgdtl ap_gdtr - ap_code
  mov %cr0, %eax
  or $1, %eax
  mov %eax, %cr0
  ljmpl $0x08, $(AP + ap32 - ap_code)
  .code32
ap32:
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov %cr4, %eax
  or $0x20, %eax
  mov %eax, %cr4
  mov AP + ap_cr3 - ap_code, %eax
  mov %eax, %cr3
  mov $0xc0000080, %ecx
  rdmsr
  or $0x901, %eax
  wrmsr
  mov %cr0, %eax
  or $0x80010022, %eax
  mov %eax, %cr0
  ljmp $0x18, $(AP + ap64 - ap_code)
  .code64
ap64:
  mov AP + ap_stack - ap_code, %rsp
  mov AP + ap_entry - ap_code, %rax
  xor %ebp, %ebp
  call *%rax
  hlt
  .balign 8
ap_gdt:
  .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
ap_gdtr:
  .word 31
  .long AP + ap_gdt - ap_code
  .balign 8
  .global ap_cr3, ap_stack, ap_entry
ap_cr3: .quad 0
ap_stack: .quad 0
ap_entry: .quad 0
ap_code_end:

  .bss
  .balign 4096
  .skip 16384
boot_stack_top:
  .section .note.GNU-stack, "", @progbits
