/* Every exception that user code can make, with its vector, error code, RIP and RF, and the registers as they
 * were: #DE, #BP, INT n, #UD, #GP, #SS, #AC, #MF, #XM, #NM (SDM vol. 3, 6.12 to 6.15).
 */
#include "snippet.h"

#define BAD_VA "movabs $0x800000000000, %rax"
SNIPPET(nothing, "", "nop");
// ---- #DE and software interrupts
SNIPPET(div_zero, "xor %ecx, %ecx; xor %edx, %edx; mov $1, %eax", "div %rcx");
SNIPPET(idiv_overflow, "mov $-1, %rcx; xor %eax, %eax; bts $63, %rax; cqo", "idiv %rcx");
SNIPPET(div8_overflow, "mov $0x1000, %eax; mov $2, %cl", "div %cl");
SNIPPET(int3, "", "int3");
SNIPPET(int_3, "", ".byte 0xcd, 3");
SNIPPET_AWAY(int_4, "", "int $4");
SNIPPET_AWAY(int_80, "xor %eax, %eax", "int $0x80");
SNIPPET_AWAY(int_80_execve, "mov $11, %eax", "int $0x80");
SNIPPET(int_0, "", "int $0");
SNIPPET(int_1, "", ".byte 0xcd, 1");
SNIPPET(int_2, "", "int $2");
SNIPPET(int_14, "", "int $14");
SNIPPET(int_20, "", "int $0x20");
SNIPPET(int_ff, "", "int $0xff");
SNIPPET(icebp, "", ".byte 0xf1");
// ---- #UD
SNIPPET(ud2, "", "ud2");
SNIPPET(ud1, "", ".byte 0x0f, 0xb9, 0xc0");
SNIPPET(ud0, "", ".byte 0x0f, 0xff, 0xc0");
SNIPPET(lock_nop, "", ".byte 0xf0, 0x90");
SNIPPET(lock_reg, "", ".byte 0xf0, 0xff, 0xc0");
SNIPPET(into, "", ".byte 0xce");
SNIPPET(push_es, "", ".byte 0x06");
SNIPPET(aam, "", ".byte 0xd4, 10");
SNIPPET(ljmp_direct, "", ".byte 0xea, 0, 0, 0, 0, 0x33, 0");
SNIPPET(rsm, "", ".byte 0x0f, 0xaa");
SNIPPET(stac, "", "stac");
SNIPPET(clac, "", "clac");
SNIPPET(vmcall, "mov $5, %eax", "vmcall");
SNIPPET(vmmcall, "mov $5, %eax", "vmmcall");
SNIPPET(vmlaunch, "", "vmlaunch");
SNIPPET(vmread, "", "vmread %rax, %rcx");
SNIPPET(getsec, "xor %eax, %eax", ".byte 0x0f, 0x37");
SNIPPET(mov_cr1, "", ".byte 0x0f, 0x20, 0xc8");
SNIPPET_AWAY(xsetbv, "xor %ecx, %ecx", "xsetbv");
SNIPPET_AWAY(xgetbv, "xor %ecx, %ecx", "xgetbv");
SNIPPET(rdfsbase, "", "rdfsbase %rax");
SNIPPET(avx, "", "vpxor %xmm0, %xmm0, %xmm0");
SNIPPET_AWAY(xsave, "mov $3, %eax; xor %edx, %edx", "xsave (%rdi)");
// ---- #GP, #SS
SNIPPET(hlt, "", "hlt");
SNIPPET(cli, "", "cli");
SNIPPET(sti, "", "sti");
SNIPPET(in, "mov $0xf5, %edx", "in %dx, %al");
SNIPPET(in_imm, "", "in $0xf5, %al");
SNIPPET(out, "mov $0xe9, %edx; mov $0x21, %al", "out %al, %dx");
SNIPPET(insb, "mov $0xf5, %edx", "insb");
SNIPPET(rep_outsb, "mov $0xe9, %edx; mov %rdi, %rsi; mov $4, %ecx", "rep outsb");
SNIPPET(rdmsr, "mov $0xc0000080, %ecx", "rdmsr");
SNIPPET(wrmsr, "mov $0xc0000103, %ecx; xor %eax, %eax; xor %edx, %edx", "wrmsr");
SNIPPET(read_cr0, "", "mov %cr0, %rax");
SNIPPET(write_cr3, "", "mov %rax, %cr3");
SNIPPET(write_cr8, "", "mov %rax, %cr8");
SNIPPET(read_dr7, "", "mov %dr7, %rax");
SNIPPET(clts, "", "clts");
SNIPPET(invlpg, "", "invlpg (%rdi)");
SNIPPET(invpcid, "xor %eax, %eax", "invpcid (%rdi), %rax");
SNIPPET(wbinvd, "", "wbinvd");
SNIPPET(invd, "", "invd");
SNIPPET(lgdt, "", "lgdt (%rdi)");
SNIPPET(lidt, "", "lidt (%rdi)");
SNIPPET(lldt, "xor %eax, %eax", "lldt %ax");
SNIPPET(ltr, "mov $0x40, %eax", "ltr %ax");
SNIPPET(lmsw, "", "lmsw %ax");
SNIPPET(swapgs, "", "swapgs");
SNIPPET(sysretq, "", "sysretq");
SNIPPET(sysexit, "", "sysexit");
SNIPPET(rdpmc, "xor %ecx, %ecx", "rdpmc");
SNIPPET(fifteen, "", ".fill 15, 1, 0x66; nop");
SNIPPET(read_bad, BAD_VA, "mov (%rax), %rcx");
SNIPPET(write_bad, BAD_VA, "mov %rcx, (%rax)");
SNIPPET(lock_bad, BAD_VA, "lock incl (%rax)");
SNIPPET(read_high_bad, "xor %eax, %eax; bts $63, %rax", "mov (%rax), %rcx");
SNIPPET(jmp_bad, BAD_VA, "jmp *%rax");
SNIPPET(call_bad, BAD_VA, "call *%rax");
SNIPPET(ret_bad, BAD_VA "; push %rax", "ret");
SNIPPET(jmp_mem_bad, BAD_VA, "jmp *(%rax)");
SNIPPET(movaps, "lea 4(%rdi), %rax", "movaps (%rax), %xmm0");
SNIPPET(cx16, "lea 8(%rdi), %rsi", "lock cmpxchg16b (%rsi)");
SNIPPET(ldmxcsr, "movl $0xffff0000, (%rdi)", "ldmxcsr (%rdi)");
SNIPPET(fxrstor, "movl $0xffff0000, 24(%rdi)", "fxrstor64 (%rdi)");
SNIPPET(fxsave_unaligned, "lea 8(%rdi), %rax", "fxsave64 (%rax)");
SNIPPET(pop_bad, BAD_VA "; mov %rsp, %rsi; mov %rax, %rsp", "pop %rcx");
SNIPPET(push_bad, BAD_VA "; mov %rax, %rsp; add $8, %rsp", "push %rcx");
SNIPPET(call_ss, BAD_VA "; mov %rax, %rsp; add $8, %rsp", "call u_nothing");
SNIPPET(ret_ss, BAD_VA "; mov %rax, %rsp", "ret");
SNIPPET(rsp_based, BAD_VA "; mov %rax, %rsp", "mov 16(%rsp), %rcx");
// ---- selectors
SNIPPET(ds_kernel, "mov $0x18, %eax", "mov %eax, %ds");
SNIPPET(es_code, "mov $0x10, %eax", "mov %eax, %es");
SNIPPET(fs_beyond, "mov $0xfff8, %eax", "mov %eax, %fs");
SNIPPET(ds_empty, "mov $0x6b, %eax", "mov %eax, %ds");  // where Linux keeps what programs ask for
SNIPPET(gs_local, "mov $7, %eax", "mov %eax, %gs");
SNIPPET(ss_null, "xor %eax, %eax", "mov %eax, %ss");
SNIPPET(ss_kernel, "mov $0x18, %eax", "mov %eax, %ss");
SNIPPET(ss_code, "mov $0x33, %eax", "mov %eax, %ss");
SNIPPET(iret_kernel, "mov %rsp, %rax; push $0x18; push %rax; push $2; push $0x10; push %rdi", "iretq");
SNIPPET(iret_null, "mov %rsp, %rax; push $0x2b; push %rax; push $2; push $0; push %rdi", "iretq");
SNIPPET(iret_bad, BAD_VA "; mov %rsp, %rcx; push $0x2b; push %rcx; push $2; push $0x33; push %rax", "iretq");
SNIPPET(iret_nested, "pushfq; orl $0x4000, (%rsp); popfq; mov %rsp, %rcx; push $0x2b; push %rcx; push $2;"
                     "push $0x33; lea u_nothing(%rip), %rax; push %rax", "iretq");
SNIPPET(lret_kernel, "push $0x10; push %rdi", "lretq");
SNIPPET(lret_data, "push $0x2b; push %rdi", "lretq");

enum { FAULT, TRAP, OTHER };
static const struct Case {
  struct Snippet s;
  u32 vector, error, kind;
} cases[] = {
  {SNIP(nothing), VEC_USER_END, 0, OTHER},
  {SNIP(div_zero), VEC_DE, 0, FAULT}, {SNIP(idiv_overflow), VEC_DE, 0, FAULT}, {SNIP(div8_overflow), VEC_DE, 0, FAULT},
  {SNIP(int3), VEC_BP, 0, TRAP}, {SNIP(int_3), VEC_BP, 0, TRAP}, {SNIP(int_4), VEC_OF, 0, TRAP},
  {SNIP(int_80), 0x80, 0, TRAP}, {SNIP(int_80_execve), 0x80, 0, TRAP},
  {SNIP(int_0), VEC_GP, 2, FAULT}, {SNIP(int_1), VEC_GP, 8 + 2, FAULT}, {SNIP(int_2), VEC_GP, 16 + 2, FAULT},
  {SNIP(int_14), VEC_GP, 14 * 8 + 2, FAULT}, {SNIP(int_20), VEC_GP, 0x102, FAULT}, {SNIP(int_ff), VEC_GP, 0x7fa, FAULT},
  {SNIP(icebp), VEC_DB, 0, TRAP},
#define UD(name) {SNIP(name), VEC_UD, 0, FAULT}
  UD(ud2), UD(ud1), UD(ud0), UD(lock_nop), UD(lock_reg), UD(into), UD(push_es), UD(aam), UD(ljmp_direct), UD(rsm), UD(stac),
  UD(clac), UD(vmcall), UD(vmmcall), UD(vmlaunch), UD(vmread), UD(getsec), UD(mov_cr1),
#define GP(name) {SNIP(name), VEC_GP, 0, FAULT}
  GP(hlt), GP(cli), GP(sti), GP(in), GP(in_imm), GP(out), GP(insb), GP(rep_outsb), GP(rdmsr), GP(wrmsr),
  GP(read_cr0), GP(write_cr3), GP(write_cr8), GP(read_dr7), GP(clts), GP(invlpg), GP(invpcid), GP(wbinvd), GP(invd),
  GP(lgdt), GP(lidt), GP(lldt), GP(ltr), GP(lmsw), GP(swapgs), GP(sysretq), GP(sysexit), GP(rdpmc),
  GP(fifteen), GP(read_bad), GP(write_bad), GP(lock_bad), GP(read_high_bad), GP(jmp_bad), GP(call_bad), GP(ret_bad), GP(jmp_mem_bad),
  GP(movaps), GP(cx16), GP(ldmxcsr), GP(fxrstor), GP(fxsave_unaligned), GP(ss_null), GP(iret_null), GP(iret_bad), GP(iret_nested),
#define SS(name) {SNIP(name), VEC_SS, 0, FAULT}
  SS(pop_bad), SS(push_bad), SS(call_ss), SS(ret_ss), SS(rsp_based),
  {SNIP(ds_kernel), VEC_GP, 0x18, FAULT}, {SNIP(es_code), VEC_GP, 0x10, FAULT}, {SNIP(fs_beyond), VEC_GP, 0xfff8, FAULT},
  {SNIP(ds_empty), VEC_GP, 0x68, FAULT}, {SNIP(gs_local), VEC_GP, 4, FAULT}, {SNIP(ss_kernel), VEC_GP, 0x18, FAULT},
  {SNIP(ss_code), VEC_GP, 0x30, FAULT}, {SNIP(iret_kernel), VEC_GP, 0x10, FAULT}, {SNIP(lret_kernel), VEC_GP, 0x10, FAULT},
  {SNIP(lret_data), VEC_GP, 0x28, FAULT},
};

static USER_DATA u8 area[1024] __attribute__((aligned(64)));
enum { RF = 1 << 16 };

static void expect(const struct Snippet* s, const struct User* u, u64 vector, u64 error, u32 kind) {
  if (u->vector != vector) show_user(s->name, u);
  CASE_EQ(s->name, u->vector, vector);
  CASE_EQ(s->name, u->error, error);
  if (kind == FAULT) CASE_EQ(s->name, u->rip, (u64)s->at);
  if (kind == TRAP) CASE_EQ(s->name, u->rip, (u64)s->after);
  CASE_EQ(s->name, u->rflags & RF, kind == FAULT ? RF : 0);
  CASE_EQ(s->name, u->rflags & 0x200, 0x200);
}

// INT 80h leaves every register alone, the upper half of RAX too.
SNIPPET_AWAY(int_80_high, "movabs $0x123456789abcdef0, %rax; mov %rax, %r11; mov %rax, %rcx", "int $0x80");
static void whole_registers(void) {
  static const struct Snippet s = SNIP(int_80_high);
  const struct User u = run_snippet(&s, (u64)area, 0);
  expect(&s, &u, 0x80, 0, TRAP);
  const u64 r[] = {u.rax, u.rcx, u.r11, u.rdi};
  for (unsigned n = 0; n < 4; ++n) CASE_EQ(s.name, r[n], n == 3 ? (u64)area : 0x123456789abcdef0);
}

static void all_cases(void) {
  for (unsigned n = 0; n < sizeof cases / sizeof cases[0]; ++n) {
    const struct Case* c = &cases[n];
    const struct User u = run_snippet(&c->s, (u64)area, 0);
    expect(&c->s, &u, c->vector, c->error, c->kind);
    const struct User end = run_snippet(&cases[0].s, 0, 0);
    CASE_EQ(c->s.name, end.vector, VEC_USER_END);
  }
}

// ---- what control registers decide ------------------------------------------------------------------
SNIPPET(sse_divide, "movl $0x1d80, (%rdi); ldmxcsr (%rdi); pcmpeqd %xmm0, %xmm0; psrld $31, %xmm0;"
                    "cvtdq2ps %xmm0, %xmm0; xorps %xmm1, %xmm1", "divps %xmm1, %xmm0");
SNIPPET(x87_divide, "fninit; movw $0x33b, (%rdi); fldcw (%rdi); fld1; fldz; fdivrp", "fwait");
SNIPPET(x87_next, "fninit; movw $0x33b, (%rdi); fldcw (%rdi); fld1; fldz; fdivrp", "fld1");
SNIPPET(sse_move, "", "movaps %xmm0, %xmm1");
SNIPPET(fld, "", "fld1");
SNIPPET(fwait, "", "fwait");
SNIPPET(rdtsc, "", "rdtsc");
SNIPPET(rdtscp, "", "rdtscp");
SNIPPET(syscall, "mov $60, %eax", "syscall");
SNIPPET(sgdt, "", "sgdt (%rdi)");
SNIPPET(sidt, "", "sidt (%rdi)");
SNIPPET(sldt, "", "sldt %eax");
SNIPPET(str, "", "str %eax");
SNIPPET(smsw, "", "smsw %rax");
SNIPPET(unaligned, "", "mov 1(%rdi), %eax");
SNIPPET(unaligned_push, "sub $2, %rsp", "push %rcx");
SNIPPET(aligned, "", "mov 4(%rdi), %eax");
enum { END = VEC_USER_END };

static void under(struct Snippet s, u64 cr0, u64 cr4, u64 vector) {
  const u32 kind = vector == VEC_SYSCALL ? TRAP : vector == END ? OTHER : FAULT;
  const u64 cr0_was = read_cr0(), cr4_was = read_cr4();
  for (int round = 0; round < 2; ++round) {
    write_cr0(cr0);
    write_cr4(cr4);
    const struct User u = run_snippet(&s, (u64)area, 0);
    write_cr0(cr0_was);
    write_cr4(cr4_was);
    const u32 was = 0x1f80;
    asm volatile("fnclex; fninit; ldmxcsr %0" ::"m"(was));
    expect(&s, &u, vector, 0, kind);
  }
}
#define UNDER(name, cr0, cr4, vector) \
  under((struct Snippet)SNIP(name), cr0, cr4, vector)

static void controls(void) {
  const u64 cr0 = read_cr0(), cr4 = read_cr4();
  UNDER(sse_divide, cr0, cr4, VEC_XM);
  UNDER(sse_divide, cr0, cr4 & ~CR4_OSXMMEXCPT, VEC_UD);
  UNDER(x87_divide, cr0, cr4, VEC_MF);
  UNDER(x87_next, cr0, cr4, VEC_MF);
  UNDER(sse_move, cr0 | CR0_TS, cr4, VEC_NM);
  UNDER(fld, cr0 | CR0_TS, cr4, VEC_NM);
  UNDER(fwait, cr0 | CR0_TS, cr4, VEC_NM);
  UNDER(fwait, (cr0 | CR0_TS) & ~2ull, cr4, END);  // MP = 0
  UNDER(nothing, cr0 | CR0_TS, cr4, END);
  UNDER(sse_move, cr0 | CR0_EM, cr4, VEC_UD);
  UNDER(fld, cr0 | CR0_EM, cr4, VEC_NM);
  UNDER(sse_move, cr0, cr4 & ~CR4_OSFXSR, VEC_UD);
  UNDER(sse_move, cr0, cr4, END);
  UNDER(rdtsc, cr0, cr4 | CR4_TSD, VEC_GP);
  UNDER(rdtscp, cr0, cr4 | CR4_TSD, VEC_GP);
  UNDER(rdtsc, cr0, cr4, END);
  UNDER(rdfsbase, cr0, cr4, END);
  UNDER(rdfsbase, cr0, cr4 & ~CR4_FSGSBASE, VEC_UD);
  UNDER(xsetbv, cr0, cr4 & ~CR4_OSXSAVE, VEC_UD);
  UNDER(xgetbv, cr0, cr4 & ~CR4_OSXSAVE, VEC_UD);
  UNDER(xsave, cr0, cr4 & ~CR4_OSXSAVE, VEC_UD);
  UNDER(avx, cr0, cr4 & ~CR4_OSXSAVE, VEC_UD);
  if (cr4 & CR4_OSXSAVE) {
    UNDER(xsetbv, cr0, cr4, VEC_GP);
    UNDER(xgetbv, cr0, cr4, END);
    UNDER(xsave, cr0, cr4, END);
  }
  UNDER(sgdt, cr0, cr4 | CR4_UMIP, VEC_GP);
  UNDER(sidt, cr0, cr4 | CR4_UMIP, VEC_GP);
  UNDER(sldt, cr0, cr4 | CR4_UMIP, VEC_GP);
  UNDER(str, cr0, cr4 | CR4_UMIP, VEC_GP);
  UNDER(smsw, cr0, cr4 | CR4_UMIP, VEC_GP);
  UNDER(sgdt, cr0, cr4, END);
  UNDER(smsw, cr0, cr4, END);
  UNDER(syscall, cr0, cr4, VEC_SYSCALL);
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~1ull);
  UNDER(syscall, cr0, cr4, VEC_UD);
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1);
  UNDER(syscall, cr0, cr4, VEC_SYSCALL);
}

static void alignment(void) {
  const struct Snippet u_read = SNIP(unaligned), u_push = SNIP(unaligned_push), good = SNIP(aligned);
  const u64 cr0 = read_cr0() & ~CR0_AM;
  for (int round = 0; round < 3; ++round) {
    write_cr0(cr0);
    struct User u = run_snippet(&u_read, (u64)area, FLAG_AC);
    CASE_EQ("AC without AM", u.vector, VEC_USER_END);
    CASE_EQ("AC without AM", u.rflags & FLAG_AC, FLAG_AC);
    write_cr0(cr0 | CR0_AM);
    u = run_snippet(&u_read, (u64)area, FLAG_AC);
    expect(&u_read, &u, VEC_AC, 0, FAULT);
    u = run_snippet(&u_push, (u64)area, FLAG_AC);
    expect(&u_push, &u, VEC_AC, 0, FAULT);
    u = run_snippet(&good, (u64)area, FLAG_AC);
    CASE_EQ("AC, aligned", u.vector, VEC_USER_END);
    u = run_snippet(&u_read, (u64)area, 0);
    CASE_EQ("AM without AC", u.vector, VEC_USER_END);
  }
}

// SYSENTER is not for 64-bit user code of a host's own; the guest's MSRs decide.
SNIPPET_AWAY(sysenter, "mov %rsp, %rsi", "sysenter");
static void sysenter(void) {
  const struct Snippet s = SNIP(sysenter);
  wrmsr(MSR_SYSENTER_CS, 0);
  const struct User u = run_snippet(&s, 0, 0);
  expect(&s, &u, VEC_GP, 0, FAULT);
}

void test(void) {
  user_init();
  for (int round = 0; round < 3; ++round) all_cases();
  whole_registers();
  controls();
  alignment();
  sysenter();
}
