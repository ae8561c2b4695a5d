// The way into user mode with all registers, and the way back by SYSCALL. GS's other base is the CPU's
// block { kernel rsp, user rsp, end of the frame in struct User } (kit.c) while user code runs.
  .text
  .set RAX, 14 * 8
  .set RIP, 17 * 8
  .set RFLAGS, 19 * 8
  .set RSP, 20 * 8
  .set SYSRET, 24 * 8

// enter_user_mode(struct User*, u64* kernel_rsp)
  .global enter_user_mode
enter_user_mode:
  .irp r, rbx, rbp, r12, r13, r14, r15
    push %\r
  .endr
  mov %rsp, (%rsi)
  cmpq $0, SYSRET(%rdi)
  jne by_sysret
  .set i, 21
  .rept 22
    pushq 8 * i(%rdi)
    .set i, i - 1
  .endr
  .irp r, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax
    pop %\r
  .endr
  add $16, %rsp
  .global user_iretq
user_iretq:
  iretq
by_sysret:
  mov %rdi, %rax
  .set i, 0
  .irp r, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx
    mov 8 * i(%rax), %\r
    .set i, i + 1
  .endr
  mov RIP(%rax), %rcx
  mov RFLAGS(%rax), %r11
  mov RSP(%rax), %rsp
  mov RAX(%rax), %rax
  sysretq

  .global user_syscall_entry, user_left
user_syscall_entry:
  swapgs
  mov %rsp, %gs:8
  mov %gs:16, %rsp
  push $0x2b
  push %gs:8
  push %r11
  push $0x33
  push %rcx
  push $0
  push $0x100
  .irp r, rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
    push %\r
  .endr
  mov %gs:0, %rsp
  swapgs
  cld
user_left:
  .irp r, r15, r14, r13, r12, rbp, rbx
    pop %\r
  .endr
  ret

  .section .user.text, "ax"
  .global user_exit
user_exit:                      // where fn of user_begin() returns to: all registers are kept
  ud2
  .section .note.GNU-stack, "", @progbits
