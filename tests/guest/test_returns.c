/* IRET and far RET from 64-bit and 32-bit code of long mode, at every level: all types, DPLs, RPLs, P, L and D of
 * what CS and SS are to become, null selectors, selectors beyond the table, targets that are not canonical or
 * beyond the limit, in all operand sizes; RSP, SS, flags and data segments afterwards, and accessed bits. What is
 * to come of each is worked out by want(), which follows the pseudo-code of the manual line by line (SDM vol. 2,
 * IRET and RET; vol. 3, 5.8.6, 6.12.1, 6.14.3).
 * @seconds 120
 */
#include "guest.h"

enum { IRET, LRET };
enum { CODE64_OF = 10, CODE32_OF = 14, DATA_OF = 18, CS_NEW = 22, SS_NEW = 23, SEG_NEW = 24 };  // entries of the GDT
enum { TARGET = 0x6000, FRAME = 0x5800, POPPED = 0x4f0, CS_TEST = CS_NEW * 8, SS_TEST = SS_NEW * 8 };
#define S_P (1ull << 47)
#define S_L (1ull << 53)
#define S_D (1ull << 54)
#define S_G (1ull << 55)
#define FLAT 0x000f00000000ffffull
#define NOT_CANONICAL 0x800000000000ull
enum { F_NT = 1 << 14, F_RF = 1 << 16, F_VM = 1 << 17, F_VIF = 1 << 19, F_VIP = 1 << 20 };
static u64 segment(unsigned type, unsigned dpl, u64 bits) {  // type: S and the four bits of it
  return FLAT | S_G | bits | (u64)type << 40 | (u64)dpl << 45;
}

// The instructions: RDI is the frame. The same bytes are both code sizes'.
asm(R"(
  .section .user.text, "ax"
  .globl r64_iretq, r64_iretl, r64_iretw, r64_lretq, r64_lretl, r64_lretw, r64_lretq_n, r32_iretl, r32_iretw, r32_lretl, r32_lretw, r32_lretl_n
  .macro routine name, insn:vararg
    mov %rdi, %rsp
  \name: \insn
  .endm
  routine r64_iretq, iretq
  routine r64_iretl, iretl
  routine r64_iretw, iretw
  routine r64_lretq, lretq
  routine r64_lretl, lretl
  routine r64_lretw, lretw
  routine r64_lretq_n, lretq $0x10
  .code32
  .macro routine32 name, insn:vararg
    mov %edi, %esp
    nop
  \name: \insn
  .endm
  routine32 r32_iretl, iretl
  routine32 r32_iretw, iretw
  routine32 r32_lretl, lretl
  routine32 r32_lretw, lretw
  routine32 r32_lretl_n, lretl $0x10
  .code64
  .text
)");
extern u8 r64_iretq[], r64_iretl[], r64_iretw[], r64_lretq[], r64_lretl[], r64_lretw[], r64_lretq_n[], r32_iretl[],
    r32_iretw[], r32_lretl[], r32_lretw[], r32_lretl_n[];
static const struct Form { u8* insn; unsigned kind, bits, size, skip; } forms[] = {
    {r64_iretq, IRET, 64, 8, 0}, {r64_iretl, IRET, 64, 4, 0}, {r64_iretw, IRET, 64, 2, 0},
    {r64_lretq, LRET, 64, 8, 0}, {r64_lretl, LRET, 64, 4, 0}, {r64_lretw, LRET, 64, 2, 0},
    {r64_lretq_n, LRET, 64, 8, 16},
    {r32_iretl, IRET, 32, 4, 0}, {r32_iretw, IRET, 32, 2, 0},
    {r32_lretl, LRET, 32, 4, 0}, {r32_lretw, LRET, 32, 2, 0}, {r32_lretl_n, LRET, 32, 4, 16}};
enum { FORMS = sizeof forms / sizeof forms[0] };

// One return: from where, by what, and the frame.
static struct Case {
  const struct Form* form;
  unsigned cpl;
  u64 flags;  // before
  u64 rip, cs, new_flags, rsp, ss;
} now;
struct Want { u64 vector, error, rsp, ss, flags; };

static void put_frame(void) {
  const struct Form* f = now.form;
  const u64 words[] = {now.rip, now.cs, now.new_flags, now.rsp, now.ss};
  u8* at = (u8*)FRAME;
  for (unsigned n = 0; n < 5; ++n) {
    if (f->kind == LRET && n == 2) continue;
    if (f->kind == LRET && n == 3) at += f->skip;
    for (unsigned k = 0; k < f->size; ++k) *at++ = (u8)(words[n] >> 8 * k);
  }
}
// To the routine, at its level, by an IRET that is allowed.
static void launch(u64 unused) {
  (void)unused;
  const struct Form* f = now.form;
  const u64 cs = (u64)((f->bits == 64 ? CODE64_OF : CODE32_OF) + now.cpl) * 8 + now.cpl, ss = (DATA_OF + now.cpl) * 8 + now.cpl;
  asm volatile("push %0; push %1; push %2; push %3; push %4; iretq" ::"r"(ss), "r"((u64)0x5f00), "r"(now.flags), "r"(cs),
               "r"((u64)f->insn - 3), "D"((u64)FRAME) : "memory");
}

static u64 narrow(u64 v, unsigned size) { return size == 8 ? v : v & ((1ull << 8 * size) - 1); }
static int in_table(u64 selector) { return !(selector & 4) && (selector & 0xfff8) / 8 < GDT_ENTRIES; }
static struct Want fault(u64 vector, u64 error) { return (struct Want){.vector = vector, .error = error}; }
static struct Want fault_at(u64 vector, u64 selector) { return fault(vector, selector & 0xfffc); }
static u64 limit_of(u64 d) {
  const u64 field = (d & 0xffff) | (d >> 32 & 0xf0000);
  return d & S_G ? field << 12 | 0xfff : field;
}
static u64 flags_after(u64 flags) {
  const struct Form* f = now.form;
  if (f->kind == LRET) return flags;
  u64 mask = 0x8d5 | 0x400 | F_NT;            // arithmetic flags, DF, NT (TF is not tried here)
  if (f->size != 2) mask |= FLAG_AC | 1 << 21;
  if (now.cpl <= (flags >> 12 & 3)) mask |= FLAG_IF;
  if (now.cpl == 0) mask |= 0x3000 | (f->size != 2 ? F_VIF | F_VIP : 0);
  return (flags & ~mask) | (now.new_flags & mask);
}

static struct Want want(void) {
  const struct Form* f = now.form;
  if (f->kind == IRET && now.flags & F_NT) return fault(VEC_GP, 0);
  const u64 cs = now.cs & 0xffff, rip = narrow(now.rip, f->size), rpl = cs & 3, ss = now.ss & 0xffff;
  if (!(cs & ~3ull)) return fault(VEC_GP, 0);
  if (!in_table(cs)) return fault_at(VEC_GP, cs);
  const u64 d = gdt[0][cs / 8], type = d >> 40 & 31, dpl = d >> 45 & 3;
  if ((type & 0x18) != 0x18) return fault_at(VEC_GP, cs);           // not a code segment
  if (rpl < now.cpl) return fault_at(VEC_GP, cs);
  if (d & S_L && d & S_D) return fault_at(VEC_GP, cs);
  if (type & 4 ? dpl > rpl : dpl != rpl) return fault_at(VEC_GP, cs);
  if (!(d & S_P)) return fault_at(VEC_NP, cs);
  const int outer = rpl > now.cpl, to64 = (d & S_L) != 0, pops = outer || (f->kind == IRET && f->bits == 64);
  u64 stack = 0;
  if (pops && !(ss & ~3ull)) {
    if (!to64 || rpl == 3 || (ss & 3) != rpl) return fault(VEC_GP, 0);
  } else if (pops) {
    if (!in_table(ss)) return fault_at(VEC_GP, ss);
    stack = gdt[0][ss / 8];
    if ((ss & 3) != rpl || (stack >> 40 & 0x1a) != 0x12 || (stack >> 45 & 3) != rpl) return fault_at(VEC_GP, ss);
    if (!(stack & S_P)) return fault_at(VEC_SS, ss);
  }
  if (to64 ? (u64)((i64)(rip << 16) >> 16) != rip : rip > limit_of(d)) return fault(VEC_GP, 0);
  struct Want w = {.vector = VEC_BP, .flags = flags_after(now.flags)};
  if (!pops) {
    w.rsp = FRAME + (f->kind == IRET ? 3 : 2) * f->size + f->skip;
    w.ss = (DATA_OF + now.cpl) * 8 + now.cpl;
    return w;
  }
  w.ss = ss;
  w.rsp = narrow(now.rsp, f->size) + f->skip;
  if (!to64) w.rsp = stack & S_D ? w.rsp & 0xffffffff : (FRAME & ~0xffffull) | (w.rsp & 0xffff);
  return w;
}

static unsigned done;
static void show(const char* what, u64 v) {
  put(what);
  put_hex(v);
}
static void check(void) {
  const struct Want w = want();
  put_frame();
  const u64 descriptors[2] = {gdt[0][CS_NEW], gdt[0][SS_NEW]};
  const struct Trap t = try_call(launch, 0);
  const int good = w.vector == VEC_BP;
  int right = t.vector == w.vector;
  if (right && good) {
    right = t.cs == (now.cs & 0xffff) && t.ss == w.ss && t.rsp == w.rsp && t.rip == narrow(now.rip, now.form->size) + 1 &&
            (t.rflags & ~(u64)F_RF) == w.flags;
    const int cs_new = (now.cs & 0xfff8) == CS_TEST, ss_new = (w.ss & 0xfff8) == SS_TEST;
    right = right && gdt[0][CS_NEW] == (descriptors[0] | (cs_new ? 1ull << 40 : 0)) &&
            gdt[0][SS_NEW] == (descriptors[1] | (ss_new ? 1ull << 40 : 0));
  } else if (right) {  // as if it had not been
    const u64 cs = (u64)((now.form->bits == 64 ? CODE64_OF : CODE32_OF) + now.cpl) * 8 + now.cpl;
    right = t.error == w.error && t.rip == (u64)now.form->insn && t.cs == cs && t.rsp == FRAME &&
            (t.rflags & ~(u64)F_RF) == now.flags && gdt[0][CS_NEW] == descriptors[0] && gdt[0][SS_NEW] == descriptors[1];
  }
  ++done;
  if (right) return;
  show("form ", (u64)(now.form - forms)), show(" cpl ", now.cpl), show(" flags ", now.flags), show(" to cs ", now.cs);
  show(" (", descriptors[0]), show(") rip ", now.rip), show(" flags ", now.new_flags), show(" rsp ", now.rsp);
  show(" ss ", now.ss), show(" (", descriptors[1]), show(")\n vector ", t.vector), show(" error ", t.error);
  show(" cs ", t.cs), show(" rip ", t.rip), show(" flags ", t.rflags), show(" rsp ", t.rsp), show(" ss ", t.ss);
  show("\nwanted ", w.vector), show(" error ", w.error), show(" flags ", w.flags), show(" rsp ", w.rsp), show(" ss ", w.ss);
  put("\n");
  failed(__FILE__, __LINE__, "return", done, 0);
}

// A return to `rpl` that would be good but for what the caller changes.
static void begin(unsigned form, unsigned cpl, unsigned rpl, u64 mode) {
  now = (struct Case){&forms[form], cpl, 2, TARGET, CS_TEST | rpl, 0x57, POPPED, SS_TEST | rpl};
  gdt[0][CS_NEW] = segment(0x1a, rpl, S_P | mode);
  gdt[0][SS_NEW] = segment(0x12, rpl, S_P | S_D);
}

// All types, or one of each kind.
static int chosen(unsigned type, int all) { return all || type == 0x0b || type == 0x12 || type == 0x18 || type == 0x1e; }
static void code_segments(unsigned form, unsigned cpl, int all) {
  for (unsigned rpl = 0; rpl < 4; ++rpl)
    for (unsigned dpl = 0; dpl < 4; ++dpl)
      for (unsigned type = 0; type < 32; ++type)
        for (unsigned bits = 0; bits < 8; ++bits) {
          if (!chosen(type, all)) continue;
          begin(form, cpl, rpl, 0);
          gdt[0][CS_NEW] = segment(type, dpl, (bits & 1 ? S_L : 0) | (bits & 2 ? S_D : 0) | (bits & 4 ? 0 : S_P));
          check();
        }
}

static void stack_segments(unsigned form, unsigned cpl, int all) {
  for (unsigned rpl = cpl; rpl < 4; ++rpl)
    for (unsigned mode = 0; mode < 3; ++mode) {
      const u64 code = mode == 0 ? S_L : mode == 1 ? S_D : 0;
      for (unsigned ss_rpl = 0; ss_rpl < 4; ++ss_rpl) {
        for (unsigned dpl = 0; dpl < 4; ++dpl)
          for (unsigned type = 0; type < 32; ++type)
            for (unsigned bits = 0; bits < 4; ++bits) {
              if (!all && (mode == 2 || (dpl ^ rpl) > 1)) continue;
              if (!chosen(type, all) || (bits && (dpl != rpl || ss_rpl != rpl))) continue;
              begin(form, cpl, rpl, code);
              now.ss = SS_TEST | ss_rpl;
              gdt[0][SS_NEW] = segment(type, dpl, (bits & 1 ? 0 : S_P) | (bits & 2 ? 0 : S_D));
              check();
            }
        static const u64 others[] = {0, GDT_ENTRIES * 8, 0xfff8, 12, 0xabcd0000 | SS_TEST};  // null; beyond; no LDT; upper halves
        for (unsigned n = 0; n < sizeof others / sizeof others[0]; ++n) {
          begin(form, cpl, rpl, code);
          now.ss = others[n] | ss_rpl;
          check();
        }
      }
    }
}

static void targets(unsigned form, unsigned cpl) {
  static const u64 selectors[] = {0, 1, 2, 3, GDT_ENTRIES * 8, 0xfffb, 12, 15, SEL_TSS, 0xabcd0000 | CS_TEST | 3};
  for (unsigned n = 0; n < sizeof selectors / sizeof selectors[0]; ++n) {
    begin(form, cpl, 3, S_L);
    now.cs = selectors[n];
    check();
  }
  static const u64 rips[] = {NOT_CANONICAL, ~NOT_CANONICAL, 1ull << 63, NOT_CANONICAL | TARGET};
  for (unsigned rpl = cpl; rpl < 4; ++rpl)
    for (unsigned bad_ss = 0; bad_ss < 2; ++bad_ss) {
      for (unsigned n = 0; n < sizeof rips / sizeof rips[0]; ++n)
        for (unsigned to64 = 0; to64 < 2; ++to64) {
          begin(form, cpl, rpl, to64 ? S_L : S_D);
          now.rip = rips[n];
          if (bad_ss) now.ss = SS_TEST | (rpl ^ 1);
          if (want().vector != VEC_BP) check();
        }
      for (u64 limit = TARGET - 1; limit <= TARGET; ++limit) {
        begin(form, cpl, rpl, S_D);
        gdt[0][CS_NEW] = (gdt[0][CS_NEW] & ~(0x000f00000000ffffull | S_G)) | limit;
        if (bad_ss) now.ss = SS_TEST | (rpl ^ 1);
        check();
        gdt[0][CS_NEW] |= S_L, gdt[0][CS_NEW] &= ~S_D;  // 64-bit code has no limit
        check();
      }
    }
}

static void flags(unsigned form, unsigned cpl) {
  static const u64 images[] = {2, 0xcd7, FLAG_IF, 0x3000, FLAG_AC | 1 << 21, F_NT, F_VIF | F_VIP, F_VM, 0x3f7ed7 & ~(u64)F_RF & ~0x100ull};
  for (unsigned n = 0; n < sizeof images / sizeof images[0]; ++n)
    for (u64 iopl = 0; iopl < 4; ++iopl)
      for (unsigned before = 0; before < 4; ++before) {
        begin(form, cpl, 3, n & 1 ? S_L : S_D);
        now.flags = 2 | iopl << 12 | (before & 1 ? FLAG_IF : 0) | (before & 2 ? F_NT : 0);
        now.new_flags = images[n];
        check();
        now.cs = CS_TEST | cpl, now.ss = SS_TEST | cpl;
        gdt[0][CS_NEW] = segment(0x1a, cpl, S_P | S_L), gdt[0][SS_NEW] = segment(0x12, cpl, S_P | S_D);
        check();
      }
}

// ---- data segments after a return to an outer level ------------------------------------------------------
static u64 selectors_now(void) {
  u64 es, ds, fs, gs;
  asm volatile("mov %%es,%0; mov %%ds,%1; mov %%fs,%2; mov %%gs,%3" : "=r"(es), "=r"(ds), "=r"(fs), "=r"(gs));
  return (es & 0xffff) | (ds & 0xffff) << 16 | (fs & 0xffff) << 32 | gs << 48;
}
static u64 loaded;
static void launch_with_segments(u64 unused) {
  asm volatile("mov %w0,%%es; mov %w0,%%ds; mov %w0,%%fs; mov %w0,%%gs" ::"r"(loaded));
  launch(unused);
}
static void data_segments(unsigned form) {
  for (unsigned rpl = 0; rpl < 4; ++rpl)
    for (unsigned dpl = 0; dpl < 4; ++dpl)
      for (unsigned type = 0x10; type < 0x20; ++type) {
        if ((type & 0xa) == 8) continue;  // not readable
        begin(form, 0, rpl, S_L);
        gdt[0][SEG_NEW] = segment(type, dpl, S_P | S_D);
        put_frame();
        loaded = SEG_NEW * 8;
        CHECK_EQ(try_call(launch_with_segments, 0).vector, VEC_BP);
        const int conforming = (type & 0xc) == 0xc, stays = rpl == 0 || dpl >= rpl || conforming;
        CHECK_EQ(selectors_now(), stays ? loaded * 0x0001000100010001ull : 0);
      }
  for (unsigned null = 0; null < 4; ++null)  // their RPL goes, the bases stay
    for (unsigned rpl = 0; rpl < 4; ++rpl) {
      begin(form, 0, rpl, S_L);
      put_frame();
      loaded = null;
      selectors_now();
      asm volatile("mov %w0,%%fs; mov %w0,%%gs" ::"r"(0));
      CHECK_EQ(try_call(launch_with_segments, 0).vector, VEC_BP);
      CHECK_EQ(selectors_now(), rpl ? 0 : null * 0x0001000100010001ull);
      wrmsr(MSR_FS_BASE, 0x12345678);
      CHECK_EQ(try_call(launch, 0).vector, VEC_BP);
      CHECK_EQ(rdmsr(MSR_FS_BASE), 0x12345678);
      wrmsr(MSR_FS_BASE, 0);
    }
  asm volatile("mov %w0,%%es; mov %w0,%%ds" ::"r"(SEL_DATA));
}

// ---- the stack itself ------------------------------------------------------------------------------------
static u64 frame_at;
static void launch_at(u64 unused) {
  (void)unused;
  const u64 cs = now.form->bits == 64 ? CODE64_OF * 8 : CODE32_OF * 8;
  asm volatile("push %0; push %1; push %2; push %3; push %4; iretq" ::"r"((u64)(DATA_OF + 1) * 8), "r"((u64)0x5f00), "r"(now.flags),
               "r"(cs), "r"((u64)now.form->insn - 3), "D"(frame_at) : "memory");
}
static void stacks(unsigned form) {
  const struct Form* f = &forms[form];
  const u64 saved = gdt[0][DATA_OF + 1];
  gdt[0][DATA_OF + 1] = segment(0x13, 0, S_P | S_D);
  begin(form, 0, 3, S_L);
  put_frame();
  struct Trap t;
  if (f->bits == 64) {  // not canonical: #SS(0)
    frame_at = NOT_CANONICAL - f->size;
    t = try_call(launch_at, 0);
    CHECK_EQ(t.vector, VEC_PF);
    frame_at = NOT_CANONICAL;
    t = try_call(launch_at, 0);
    CHECK_EQ(t.vector, VEC_SS);
    CHECK_EQ(t.error, 0);
    CHECK_EQ(t.rsp, frame_at);
  } else {  // beyond the limit at each word of the frame: #SS(0)
    const unsigned words = f->kind == IRET ? 5 : 4;
    const u64 length = words * f->size + f->skip;
    for (u64 inside = 0; inside <= length; ++inside) {
      gdt[0][DATA_OF + 1] = (segment(0x13, 0, S_P | S_D) & ~(0x000f00000000ffffull | S_G)) | (FRAME + inside - 1);
      frame_at = FRAME;
      t = try_call(launch_at, 0);
      CHECK_EQ(t.vector, inside == length ? VEC_BP : VEC_SS);
      if (inside == length) break;
      CHECK_EQ(t.error, 0);
      CHECK_EQ(t.rsp, FRAME);
    }
  }
  // a page that is not there, behind the first words
  gdt[0][DATA_OF + 1] = segment(0x13, 0, S_P | S_D);
  frame_at = (64 << 20) - 2 * f->size;
  for (unsigned k = 0; k < 2 * f->size; ++k) AT(u8, frame_at + k) = AT(u8, (u64)FRAME + k);
  t = try_call(launch_at, 0);
  CHECK_EQ(t.vector, VEC_PF);
  CHECK_EQ(t.error, 0);
  CHECK_EQ(t.rip, (u64)f->insn);
  CHECK_EQ(t.rsp, frame_at);
  gdt[0][DATA_OF + 1] = saved;
}

void test(void) {
  cli();
  *pte_of(0, 2) |= PTE_U;
  write_cr3(read_cr3());
  AT(u8, (u64)TARGET) = 0xcc;
  static const unsigned caught[] = {VEC_BP, VEC_GP, VEC_NP, VEC_SS, VEC_PF};
  for (unsigned n = 0; n < sizeof caught / sizeof caught[0]; ++n) set_gate(caught[n], trap_stub(caught[n]), 1, 3);
  for (unsigned level = 0; level < 4; ++level) {
    gdt[0][CODE64_OF + level] = segment(0x1b, level, S_P | S_L);
    gdt[0][CODE32_OF + level] = segment(0x1b, level, S_P | S_D);
    gdt[0][DATA_OF + level] = segment(0x13, level, S_P | S_D);
  }
  for (unsigned form = 0; form < FORMS; ++form) {
    for (unsigned cpl = 0; cpl < 4; ++cpl) {
      // All of it once for each instruction and code size; which comparisons the other levels and operand
      // sizes lose is another matter.
      const int first = form == 0 || form == 3 || form == 7 || form == 9;
      code_segments(form, cpl, first && cpl == 0);
      stack_segments(form, cpl, first && cpl == 0);
      targets(form, cpl);
      flags(form, cpl);
    }
    data_segments(form);
    stacks(form);
  }
  CHECK(done > 50000);
  put("returns: 0x"), put_hex(done), put("\n");
}
