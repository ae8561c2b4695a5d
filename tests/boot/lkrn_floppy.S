/* Boot sector of a floppy that has nothing but a bzImage behind it, by the real-mode protocol of Linux
 * (Documentation/arch/x86/boot.rst): the setup sectors go to 90000h, the rest to 1 MiB. What makes the
 * floppy writes two words at 1FAh: how many sectors the setup has, and how many there are at all. */
        .code16
        .globl _start
_start:
        ljmp    $0, $1f
1:      xor     %ax, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     $0x7c00, %sp
        cld
        mov     %dl, drive
next:
        mov     sector, %ax
        cmp     setup_sectors, %ax
        jne     2f
        movb    $0x10, target + 2       /* to 1 MiB from here on */
        movw    $0, target
2:      inc     %ax                     /* the boot sector itself */
        xor     %dx, %dx
        mov     $18, %bx
        div     %bx
        mov     %dl, %cl
        inc     %cl
        shr     $1, %ax
        setc    %dh
        mov     %al, %ch
        mov     drive, %dl
        mov     $buffer, %bx
        mov     $0x0201, %ax            /* read one sector */
        int     $0x13
        jc      failed
        mov     $table, %si
        mov     $256, %cx
        mov     $0x87, %ah              /* move a block */
        int     $0x15
        jc      failed
        addw    $512, target
        adcb    $0, target + 2
        incw    sector
        mov     sector, %ax
        cmp     all_sectors, %ax
        jb      next

        mov     $0x9000, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %fs
        mov     %ax, %gs
        cli
        mov     %ax, %ss
        mov     $0xe000, %sp
        sti
        movb    $0xff, 0x210            /* type_of_loader: none that has a number */
        orb     $0x80, 0x211            /* loadflags: there is a heap */
        movw    $0xde00, 0x224          /* heap_end_ptr */
        movl    $0, 0x228               /* cmd_line_ptr */
        ljmp    $0x9020, $0
failed:
        hlt
        jmp     failed

drive:  .byte   0
sector: .word   0
table:  .quad   0, 0
        .word   0xffff, buffer
        .byte   0, 0x93
        .word   0
        .word   0xffff
target: .word   0
        .byte   9, 0x93
        .word   0
        .quad   0, 0
        .equ    buffer, 0x8000
        .org    0x1fa
setup_sectors:
        .word   0
all_sectors:
        .word   0
        .word   0xaa55
