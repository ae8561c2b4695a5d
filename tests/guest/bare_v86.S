/* Virtual-8086 mode: IOPL-sensitive instructions, VME (virtual interrupt flag, redirection of
 * INT n), BOUND and INT3, entry and exit frames; PVI at CPL 3 (SDM vol. 3, ch. 21).
 * @start protected
 * @load 0x10000
 */
  .code32
  .global _start
  .set place, 0
  .set idt, 0x19000
  .set tss, 0x18000
  .set IF, 0x200
  .set VIF, 0x80000
  .set VIP, 0x100000
  .macro check cond
    .set place, place + 1
    movl $place, line
    j\cond .Lok\@
    jmp fail
.Lok\@:
  .endm
  // v86 ENTRY FLAGS VECTOR END: runs ENTRY with these flags; it must trap so with IP at END
  .macro v86 entry, flags, vector, end
    .set place, place + 1
    movl $place, line
    movl $2f, resume
    movl %esp, saved_esp
    push $0x1234                      // GS
    push $0x1233                      // FS
    push $0x1000                      // DS
    push $0x1000                      // ES
    push $0x1000                      // SS
    push $0xe000
    push $(0x20002 | \flags)
    push $0x1000
    push $\entry - _start
    iret
2:
    cmpl $\vector, got_vector
    jne fail
    cmpl $\end - _start, got_ip
    jne fail
  .endm
  .macro flags_are mask, value
    movl got_flags, %eax
    and $(\mask), %eax
    cmp $(\value), %eax
    check e
  .endm
_start:
  lgdtl gdtr
  lidtl idtr
  mov $0x10, %eax
  .irp seg, ds, es, ss, fs, gs
    mov %eax, %\seg
  .endr
  mov $idt, %edi
  mov $stubs, %eax
  mov $64, %ecx
1:
  mov %ax, (%edi)
  movw $8, 2(%edi)
  movw $0xee00, 4(%edi)               // DPL 3
  mov %eax, %edx
  shr $16, %edx
  mov %dx, 6(%edi)
  add $8, %edi
  add $16, %eax
  loop 1b
  movl $0x7f000, tss + 4
  movl $0x10, tss + 8
  movw $0x88, tss + 102               // I/O map; the redirection map lies before it, at 68h
  movb $1, tss + 0x88 + 0x40 / 8         // port 40h is forbidden
  movb $0x02, tss + 0x68 + 4          // bit 21h: not redirected
  mov $0x18, %eax
  ltr %ax
  movl $0x10000000 + redirected - _start, 0x20 * 4  // 1000:redirected
  movl $0x10000000 + redirected - _start, 0x21 * 4

  // without VME and with IOPL 0 each of them is #GP
  v86 do_cli, IF, 13, do_cli
  v86 do_sti, 0, 13, do_sti
  v86 do_pushf, 0, 13, do_pushf
  v86 do_popf, 0, 13, do_popf
  v86 do_iret, 0, 13, do_iret
  v86 do_int, 0, 13, do_int
  v86 do_hlt, 0x3000, 13, do_hlt
  cmpl $0x1000, got_cs                // the frame of V86 mode
  check e
  cmpl $0x1233, got_fs
  check e
  cmpl $0x1234, got_gs
  check e
  flags_are 0x20000, 0x20000
  v86 do_int3, 0, 3, do_int3_end
  v86 do_bound, 0, 5, do_bound
  // IOPL 3: allowed, and INT n goes through the gate
  v86 do_cli, (IF | 0x3000), 13, do_cli_end
  flags_are IF, 0
  v86 do_int, 0x3000, 32, do_int_end
  v86 do_in, 0x3000, 13, do_in        // I/O goes by the map, whatever IOPL

  mov %cr4, %eax
  or $1, %eax                         // VME
  mov %eax, %cr4
  v86 do_cli, (IF | VIF), 13, do_cli_end
  flags_are (IF | VIF), IF
  v86 do_sti, IF, 13, do_sti_end
  flags_are (IF | VIF), (IF | VIF)
  v86 do_sti, (IF | VIP), 13, do_sti
  v86 do_pushf, (IF | VIF), 13, do_pushf_end
  mov 0x1dffe, %eax
  and $0x3200, %eax
  cmp $0x3200, %eax                   // IOPL 3 and IF = VIF
  check e
  v86 do_pushf, IF, 13, do_pushf_end
  mov 0x1dffe, %eax
  and $0x3200, %eax
  cmp $0x3000, %eax
  check e
  v86 do_pushfl, IF, 13, do_pushfl    // the 32-bit form is not virtualized
  movw $0x0203, 0x1e000
  v86 do_popf, 0, 13, do_popf_end
  flags_are (IF | VIF | 0x3001), (VIF | 1)
  v86 do_popf, VIP, 13, do_popf
  movw $0x0103, 0x1e000
  v86 do_popf, 0, 13, do_popf         // TF
  movw $do_iret_to - _start, 0x1e000
  movw $0x1000, 0x1e002
  movw $0x0202, 0x1e004
  v86 do_iret, 0, 13, do_iret_to
  flags_are (IF | VIF), VIF
  // INT n: 20h is redirected into V86 mode, 21h is not
  v86 do_int, (IF | VIF), 13, redirected
  flags_are (IF | VIF), IF
  cmpw $do_int_end - _start, 0x1dffa
  check e
  mov 0x1dffe, %eax
  and $0x3200, %eax
  cmp $0x3200, %eax
  check e
  v86 do_int21, IF, 13, do_int21
  v86 do_int21, (IF | 0x3000), 33, do_int21_end

  // PVI at CPL 3
  mov %cr4, %eax
  or $2, %eax
  mov %eax, %cr4
  movl $2f, resume
  movl %esp, saved_esp
  push $0x2b
  push $0x60000
  push $VIF + 2
  push $0x23
  push $pvi
  iret
2:
  movl $90, line
  cmpl $13, got_vector
  jne fail
  flags_are (IF | VIF), VIF
  cmpl $0x23, got_cs
  check e
  xor %eax, %eax
  out %al, $0xf4
pvi:
  cli
  pushf
  pop %eax
  test $VIF, %eax
  jnz 1f
  sti
  hlt
1:
  ud2
fail:
  movl line, %eax
  out %al, $0xf4
  hlt

  .code16
do_cli: cli
do_cli_end: hlt
do_sti: sti
do_sti_end: hlt
do_pushf: pushfw
do_pushf_end: hlt
do_pushfl: pushfl
  hlt
do_popf: popfw
do_popf_end: hlt
do_iret: iretw
  hlt
do_iret_to: hlt
do_int: int $0x20
do_int_end: hlt
do_int21: int $0x21
do_int21_end: hlt
do_int3: int3
do_int3_end: hlt
do_bound: bound %ax, bounds16 - _start
  hlt
do_in: in $0x40, %al
do_hlt: hlt
redirected: hlt
bounds16: .word 1, -1                 // nothing lies between

  .code32
#define STUBS 64
#include "bare_stubs.inc"
common:
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  popl got_vector
  pop %eax
  popl got_ip
  popl got_cs
  popl got_flags
  mov 16(%esp), %eax
  mov %eax, got_fs
  mov 20(%esp), %eax
  mov %eax, got_gs
  mov saved_esp, %esp
  jmp *resume

  .balign 8
gdt:
  .quad 0
  .quad 0x00cf9b000000ffff   // 08 code
  .quad 0x00cf93000000ffff   // 10 data
  .quad 0x00008901800000ff   // 18 TSS
  .quad 0x00cffb000000ffff   // 20 code of level 3
  .quad 0x00cff3000000ffff   // 28 data of level 3
gdtr:
  .word 6 * 8 - 1
  .long gdt
idtr:
  .word 0x1ff
  .long idt
got_vector: .long 0
got_ip: .long 0
got_cs: .long 0
got_flags: .long 0
got_fs: .long 0
got_gs: .long 0
resume: .long 0
saved_esp: .long 0
line: .long 0
  .section .note.GNU-stack, "", @progbits
