// User code that holds all registers for a while: FS is the block of values to load, GS the one to store
// what was found (struct Block of user_state.c).
  .set GPR, 0           // 16, by number; that of RCX is how long, or what SYSCALL leaves
  .set FLAGS, 128
  .set STACK, 136
  .set MXCSR, 144
  .set FCW, 148
  .set FSW, 150
  .set X87, 160         // 8 of 16 bytes
  .set MASKS, 288       // k0..k7
  .set VECTORS, 384     // 32 of 64 bytes

  .macro vectors8 from, op, suffix, seg, store
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7
      vector_one %(\from+\n), \op, \suffix, \seg, \store
    .endr
  .endm
  .altmacro
  .macro vector_one n, op, suffix, seg, store
    .if \store
      \op %\suffix&\n, %\seg:VECTORS + 64 * \n
    .else
      \op %\seg:VECTORS + 64 * \n, %\suffix&\n
    .endif
  .endm
  .macro vectors width, seg, store
    .if \width == 64
      vectors8 0, vmovdqu64, zmm, \seg, \store
      vectors8 8, vmovdqu64, zmm, \seg, \store
      vectors8 16, vmovdqu64, zmm, \seg, \store
      vectors8 24, vmovdqu64, zmm, \seg, \store
      .irp n, 0, 1, 2, 3, 4, 5, 6, 7
        .if \store
          kmovw %k\n, %\seg:MASKS + 8 * \n
        .else
          kmovw %\seg:MASKS + 8 * \n, %k\n
        .endif
      .endr
    .elseif \width == 32
      vectors8 0, vmovdqu, ymm, \seg, \store
      vectors8 8, vmovdqu, ymm, \seg, \store
    .else
      vectors8 0, movdqu, xmm, \seg, \store
      vectors8 8, movdqu, xmm, \seg, \store
    .endif
  .endm

  .macro hold name, width, calls
  .global \name
\name:
    .irp r, rbx, rbp, r12, r13, r14, r15
      push %\r
    .endr
    mov %rsp, %gs:STACK
    vectors \width, fs, 0
    fninit
    fldcw %fs:FCW
    .irp n, 7, 6, 5, 4, 3, 2, 1, 0
      fldt %fs:X87 + 16 * \n
    .endr
    ldmxcsr %fs:MXCSR
    pushq %fs:FLAGS
    popfq
    mov %fs:GPR + 8 * 0, %rax
    mov %fs:GPR + 8 * 1, %rcx
    mov %fs:GPR + 8 * 2, %rdx
    mov %fs:GPR + 8 * 3, %rbx
    mov %fs:GPR + 8 * 4, %rsp
    mov %fs:GPR + 8 * 5, %rbp
    mov %fs:GPR + 8 * 6, %rsi
    mov %fs:GPR + 8 * 7, %rdi
    .irp n, 8, 9, 10, 11, 12, 13, 14, 15
      mov %fs:GPR + 8 * \n, %r\n
    .endr
    .if \calls
      syscall
      .global \name\()_after
\name\()_after:
    .else
1:    lea -1(%rcx), %rcx        // no flag changes
      jrcxz 2f
      jmp 1b
2:
    .endif
    mov %rax, %gs:GPR + 8 * 0
    mov %rcx, %gs:GPR + 8 * 1
    mov %rdx, %gs:GPR + 8 * 2
    mov %rbx, %gs:GPR + 8 * 3
    mov %rsp, %gs:GPR + 8 * 4
    mov %rbp, %gs:GPR + 8 * 5
    mov %rsi, %gs:GPR + 8 * 6
    mov %rdi, %gs:GPR + 8 * 7
    .irp n, 8, 9, 10, 11, 12, 13, 14, 15
      mov %r\n, %gs:GPR + 8 * \n
    .endr
    mov %gs:STACK, %rsp
    pushfq
    popq %gs:FLAGS
    pushq $2
    popfq
    stmxcsr %gs:MXCSR
    fnstcw %gs:FCW
    fnstsw %gs:FSW
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7
      fstpt %gs:X87 + 16 * \n
    .endr
    vectors \width, gs, 1
    .irp r, r15, r14, r13, r12, rbp, rbx
      pop %\r
    .endr
    ret
  .endm

  .section .user.text, "ax"
  hold hold_16, 16, 0
  hold hold_32, 32, 0
  hold hold_64, 64, 0
  hold call_16, 16, 1
  hold call_32, 32, 1
  hold call_64, 64, 1
  .section .note.GNU-stack, "", @progbits
