/* Far JMP and CALL through memory from 64-bit and 32-bit code of long mode: all types, DPLs, RPLs, P, L and D of the
 * target, call gates with theirs, stacks of inner levels, targets that are not canonical or beyond the limit, and
 * what is pushed. want() follows the pseudo-code line by line (SDM vol. 2, CALL and JMP; vol. 3, 5.8.3, 5.8.5). Then
 * SYSRET and SYSEXIT: fixed segments, flags, targets (5.8.7, 5.8.8; vol. 2).
 * @seconds 120
 */
#include "guest.h"

enum { CODE64_OF = 10, CODE32_OF = 14, DATA_OF = 18, CS_NEW = 22, GATE = 24 };  // entries of the GDT
enum { TARGET = 0x6000, POINTER = 0x5800, STACK = 0x5e00, CS_TEST = CS_NEW * 8, GATE_TEST = GATE * 8 };
#define S_P (1ull << 47)
#define S_L (1ull << 53)
#define S_D (1ull << 54)
#define S_G (1ull << 55)
#define FLAT 0x000f00000000ffffull
#define NOT_CANONICAL 0x800000000000ull
enum { F_RF = 1 << 16 };
static u64 segment(unsigned type, unsigned dpl, u64 bits) {
  return FLAT | S_G | bits | (u64)type << 40 | (u64)dpl << 45;
}

asm(R"(
  .section .user.text, "ax"
  .globl t_jmpq, t_jmpl, t_jmpw, t_callq, t_calll, t_callw
  t_jmpq: .byte 0x48, 0xff, 0x2f     # by (%rdi); the same in 32-bit code but for the REX prefix
  t_jmpl: .byte 0xff, 0x2f
  t_jmpw: .byte 0x66, 0xff, 0x2f
  t_callq: .byte 0x48, 0xff, 0x1f
  t_calll: .byte 0xff, 0x1f
  t_callw: .byte 0x66, 0xff, 0x1f
  ud2
  .globl t_sysretq, t_sysretl, t_sysexitq, t_sysexitl
  t_sysretq: sysretq
  t_sysretl: sysretl
  t_sysexitq: rex.w sysexit
  t_sysexitl: sysexit
  .text
)");
extern u8 t_jmpq[], t_jmpl[], t_jmpw[], t_callq[], t_calll[], t_callw[], t_sysretq[], t_sysretl[], t_sysexitq[], t_sysexitl[];
static const struct Form { u8* insn; unsigned call, bits, size, length; } forms[] = {
    {t_jmpq, 0, 64, 8, 3}, {t_jmpl, 0, 64, 4, 2}, {t_jmpw, 0, 64, 2, 3}, {t_callq, 1, 64, 8, 3}, {t_calll, 1, 64, 4, 2},
    {t_callw, 1, 64, 2, 3}, {t_jmpl, 0, 32, 4, 2}, {t_jmpw, 0, 32, 2, 3}, {t_calll, 1, 32, 4, 2}, {t_callw, 1, 32, 2, 3}};
enum { FORMS = sizeof forms / sizeof forms[0] };

static struct { const struct Form* form; unsigned cpl; u64 offset, selector; } now;
struct Want { u64 vector, error, rip, cs, ss, rsp, pushed[4]; unsigned pushes, push_size; };
static u8* tss;

static u64 source_cs(void) { return (u64)((now.form->bits == 64 ? CODE64_OF : CODE32_OF) + now.cpl) * 8 + now.cpl; }
static u64 source_ss(void) { return (u64)(DATA_OF + now.cpl) * 8 + now.cpl; }
static void launch(u64 unused) {
  (void)unused;
  asm volatile("push %0; push %1; push %2; push %3; push %4; iretq" ::"r"(source_ss()), "r"((u64)STACK), "r"(2ull),
               "r"(source_cs()), "r"((u64)now.form->insn), "D"((u64)POINTER) : "memory");
}

static struct Want fault(u64 vector, u64 error) { return (struct Want){.vector = vector, .error = error}; }
static struct Want fault_at(u64 vector, u64 selector) { return fault(vector, selector & 0xfffc); }
static u64 limit_of(u64 d) {
  const u64 field = (d & 0xffff) | (d >> 32 & 0xf0000);
  return d & S_G ? field << 12 | 0xfff : field;
}
static int reachable(u64 d, u64 rip) {
  return d & S_L ? (u64)((i64)(rip << 16) >> 16) == rip : rip <= limit_of(d);
}
static int in_table(u64 selector) { return !(selector & 4) && (selector & 0xfff8) / 8 < GDT_ENTRIES; }
static struct Want arrive(u64 selector, unsigned cpl, u64 rip, unsigned size, int inner) {
  struct Want w = {.vector = VEC_BP, .rip = rip + 1, .cs = (selector & ~3ull) | cpl, .ss = source_ss(), .rsp = STACK};
  if (!now.form->call) return w;
  w.push_size = size;
  if (inner) {
    w.pushed[w.pushes++] = source_ss(), w.pushed[w.pushes++] = STACK;
    w.ss = cpl, w.rsp = AT(u64, tss + 4 + 8 * cpl);
  }
  w.pushed[w.pushes++] = source_cs(), w.pushed[w.pushes++] = (u64)now.form->insn + now.form->length;
  w.rsp -= w.pushes * size;
  return w;
}

static struct Want want_gate(u64 selector) {
  const u64 gate = gdt[0][selector / 8], high = gdt[0][selector / 8 + 1], rpl = selector & 3;
  if ((gate >> 40 & 31) != 12) return fault_at(VEC_GP, selector);  // the only one of long mode
  const u64 dpl = gate >> 45 & 3;
  if (dpl < now.cpl || dpl < rpl || high >> 40 & 31) return fault_at(VEC_GP, selector);
  if (!(gate & S_P)) return fault_at(VEC_NP, selector);
  const u64 cs = gate >> 16 & 0xffff, rip = (gate & 0xffff) | (gate >> 32 & 0xffff0000) | high << 32;
  if (!(cs & ~3ull)) return fault(VEC_GP, 0);
  if (!in_table(cs)) return fault_at(VEC_GP, cs);
  const u64 d = gdt[0][cs / 8], type = d >> 40 & 31, level = d >> 45 & 3;
  const int conforming = (type & 4) != 0;
  if ((type & 0x18) != 0x18 || level > now.cpl) return fault_at(VEC_GP, cs);
  if (!now.form->call && !conforming && level != now.cpl) return fault_at(VEC_GP, cs);
  if (!(d & S_L) || d & S_D) return fault_at(VEC_GP, cs);
  if (!(d & S_P)) return fault_at(VEC_NP, cs);
  if (!reachable(d, rip)) return fault(VEC_GP, 0);
  const int inner = now.form->call && !conforming && level < now.cpl;
  return arrive(cs, inner ? (unsigned)level : now.cpl, rip, 8, inner);
}
static struct Want want(void) {
  const u64 cs = now.selector & 0xffff, rpl = cs & 3;
  const unsigned size = now.form->size;
  const u64 rip = size == 8 ? now.offset : now.offset & ((1ull << 8 * size) - 1);
  if (!(cs & ~3ull)) return fault(VEC_GP, 0);
  if (!in_table(cs)) return fault_at(VEC_GP, cs);
  const u64 d = gdt[0][cs / 8], type = d >> 40 & 31, dpl = d >> 45 & 3;
  if (!(type & 16)) return (cs & 0xfff8) / 8 + 1 < GDT_ENTRIES ? want_gate(cs) : fault_at(VEC_GP, cs);
  if (!(type & 8)) return fault_at(VEC_GP, cs);
  if (type & 4 ? dpl > now.cpl : rpl > now.cpl || dpl != now.cpl) return fault_at(VEC_GP, cs);
  if (d & S_L && d & S_D) return fault_at(VEC_GP, cs);
  if (!(d & S_P)) return fault_at(VEC_NP, cs);
  if (!reachable(d, rip)) return fault(VEC_GP, 0);
  return arrive(cs, now.cpl, rip, size, 0);
}

static unsigned done;
static void show(const char* what, u64 v) { put(what), put_hex(v); }
static void check(void) {
  const struct Want w = want();
  for (unsigned n = 0; n < 10; ++n)
    AT(u8, (u64)POINTER + n) = (u8)(n < now.form->size ? now.offset >> 8 * n : now.selector >> 8 * (n - now.form->size));
  const struct Trap t = try_call(launch, 0);
  int right = t.vector == w.vector;
  if (right && w.vector == VEC_BP) {
    right = t.cs == w.cs && t.rip == w.rip && t.ss == w.ss && t.rsp == w.rsp;
    u64 at = w.rsp;
    for (unsigned n = w.pushes; right && n-- > 0; at += w.push_size)
      for (unsigned k = 0; k < w.push_size; ++k) right = right && AT(u8, at + k) == (u8)(w.pushed[n] >> 8 * k);
  } else if (right) {
    right = t.error == w.error && t.cs == source_cs() && t.ss == source_ss() && t.rsp == STACK && t.rip == (u64)now.form->insn;
  }
  ++done;
  if (right) return;
  show("form ", (u64)(now.form - forms)), show(" cpl ", now.cpl), show(" to ", now.selector), show(":", now.offset);
  show(" code ", gdt[0][CS_NEW]), show(" gate ", gdt[0][GATE]), show(" ", gdt[0][GATE + 1]), show("\n vector ", t.vector);
  show(" error ", t.error), show(" cs ", t.cs), show(" rip ", t.rip), show(" ss ", t.ss), show(" rsp ", t.rsp);
  show("\nwanted ", w.vector), show(" error ", w.error), show(" cs ", w.cs), show(" rip ", w.rip), show(" ss ", w.ss);
  show(" rsp ", w.rsp), put("\n");
  failed(__FILE__, __LINE__, "transfer", done, 0);
}
static void begin(unsigned form, unsigned cpl) {
  now.form = &forms[form], now.cpl = cpl, now.offset = TARGET, now.selector = CS_TEST | cpl;
  gdt[0][CS_NEW] = segment(0x1a, cpl, S_P | S_L);
}
static void set_call_gate(unsigned type, unsigned dpl, u64 bits, u64 selector, u64 offset) {
  gdt[0][GATE] = (offset & 0xffff) | (selector & 0xffff) << 16 | (u64)type << 40 | (u64)dpl << 45 | bits | (offset >> 16 & 0xffff) << 48;
  gdt[0][GATE + 1] = offset >> 32;
}

static void segments(unsigned form, unsigned cpl, int first) {
  for (unsigned rpl = 0; rpl < 4; ++rpl)
    for (unsigned dpl = 0; dpl < 4; ++dpl)
      for (unsigned type = 0x10; type < 32; ++type)
        for (unsigned bits = 0; bits < 8; ++bits) {
          if (!first && type != 0x12 && type != 0x1a && type != 0x1e) continue;
          begin(form, cpl);
          now.selector = CS_TEST | rpl;
          gdt[0][CS_NEW] = segment(type, dpl, (bits & 1 ? S_L : 0) | (bits & 2 ? S_D : 0) | (bits & 4 ? 0 : S_P));
          check();
        }
  static const u64 selectors[] = {0, 1, 2, 3, GDT_ENTRIES * 8, 0xfff8, 12, (GDT_ENTRIES - 1) * 8};
  for (unsigned n = 0; n < sizeof selectors / sizeof selectors[0]; ++n) {
    begin(form, cpl);
    now.selector = selectors[n];
    check();
  }
  static const u64 targets[] = {NOT_CANONICAL, ~NOT_CANONICAL, 1ull << 63};
  for (unsigned n = 0; n < 3; ++n) {
    begin(form, cpl);
    now.offset = targets[n];
    if (want().vector != VEC_BP) check();
  }
  for (u64 limit = TARGET - 1; limit <= TARGET; ++limit) {
    begin(form, cpl);
    gdt[0][CS_NEW] = (segment(0x1a, cpl, S_P | S_D) & ~(FLAT | S_G)) | limit;
    check();
  }
}
static void gates(unsigned form, unsigned cpl) {
  for (unsigned rpl = 0; rpl < 4; ++rpl)
    for (unsigned dpl = 0; dpl < 4; ++dpl)
      for (unsigned type = 0; type < 16; ++type)
        for (unsigned present = 0; present < 2; ++present) {
          begin(form, cpl);
          now.selector = GATE_TEST | rpl;
          set_call_gate(type, dpl, present ? S_P : 0, CS_TEST, TARGET);
          check();
        }
  for (unsigned level = 0; level < 4; ++level)
    for (unsigned type = 0; type < 32; ++type)
      for (unsigned bits = 0; bits < 8; ++bits) {
        begin(form, cpl);
        now.selector = GATE_TEST;
        set_call_gate(12, 3, S_P, CS_TEST | 3, TARGET);  // the RPL in the gate plays no role
        gdt[0][CS_NEW] = segment(type, level, (bits & 1 ? 0 : S_L) | (bits & 2 ? S_D : 0) | (bits & 4 ? 0 : S_P));
        check();
      }
  static const u64 selectors[] = {0, 3, GDT_ENTRIES * 8, 12}, offsets[] = {NOT_CANONICAL, ~NOT_CANONICAL};
  for (unsigned n = 0; n < 4; ++n) {
    begin(form, cpl);
    now.selector = GATE_TEST;
    set_call_gate(12, 3, S_P, selectors[n], TARGET);
    check();
    set_call_gate(12, 3, S_P, CS_TEST, offsets[n & 1]);
    check();
    set_call_gate(12, 3, S_P, CS_TEST, TARGET);
    gdt[0][GATE + 1] |= 1ull << (40 + n);  // the type of the upper half
    check();
  }
}

// ---- SYSRET and SYSEXIT ------------------------------------------------------------------------------------
static struct { const u8* insn; u64 rcx, rdx, r11; } fast;
static void launch_fast(u64 unused) {
  (void)unused;
  register u64 r11 asm("r11") = fast.r11;
  asm volatile("jmp *%0" ::"a"(fast.insn), "c"(fast.rcx), "d"(fast.rdx), "r"(r11) : "memory");
}
static struct Trap try_fast(const u8* insn, u64 rcx, u64 rdx, u64 r11) {
  fast.insn = insn, fast.rcx = rcx, fast.rdx = rdx, fast.r11 = r11;
  return try_call(launch_fast, 0);
}
static void refused(const u8* insn, u64 rcx, u64 rdx) {
  const struct Trap t = try_fast(insn, rcx, rdx, 0x246);
  CHECK_EQ(t.vector, VEC_GP);
  CHECK_EQ(t.error, 0);
  CHECK_EQ(t.rip, (u64)insn);
  CHECK_EQ(t.cs, SEL_CODE64);  // still at level 0
  CHECK_EQ(t.ss, SEL_DATA);
}
static void fast_returns(void) {
  // The descriptors are not looked at: these are absent ones.
  const u64 base = 0x60 | 3;
  wrmsr(MSR_STAR, base << 48);
  for (unsigned n = 12; n < 18; ++n) gdt[0][n] = 0;
  for (unsigned n = 0; n < 64; ++n) {
    static const u64 kept = 0x3c7fd7;
    const u64 image = n == 63 ? ~0x100ull : 1ull << n;
    if (image == 0x100) continue;  // TF
    struct Trap t = try_fast(t_sysretq, TARGET, 0, image);
    CHECK_EQ(t.vector, VEC_BP);
    CHECK_EQ(t.rip, TARGET + 1);
    CHECK_EQ(t.cs, 0x60 + 16 + 3);
    CHECK_EQ(t.ss, 0x60 + 8 + 3);
    CHECK_EQ(t.rflags, (image & kept) | 2);
    t = try_fast(t_sysretl, 0xabcd00000000 | TARGET, 0, image);
    CHECK_EQ(t.rip, TARGET + 1);
    CHECK_EQ(t.cs, 0x60 + 3);
    CHECK_EQ(t.ss, 0x60 + 8 + 3);
    CHECK_EQ(t.rflags, (image & kept) | 2);
  }
  refused(t_sysretq, NOT_CANONICAL, 0);
  refused(t_sysretq, ~NOT_CANONICAL, 0);
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~1ull);
  CHECK_EQ(try_fast(t_sysretq, TARGET, 0, 2).vector, VEC_UD);
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1);
  for (u64 cs = 0; cs < 4; ++cs) {
    wrmsr(MSR_SYSENTER_CS, cs);
    refused(t_sysexitq, STACK, TARGET);
    refused(t_sysexitl, STACK, TARGET);
  }
  wrmsr(MSR_SYSENTER_CS, 0x43);
  struct Trap t = try_fast(t_sysexitq, STACK, TARGET, 0);
  CHECK_EQ(t.vector, VEC_BP);
  CHECK_EQ(t.cs, 0x40 + 32 + 3);
  CHECK_EQ(t.ss, 0x40 + 40 + 3);
  CHECK_EQ(t.rsp, STACK);
  t = try_fast(t_sysexitl, 0xabcd00000000 | STACK, 0x123400000000 | TARGET, 0);
  CHECK_EQ(t.vector, VEC_BP);
  CHECK_EQ(t.rip, TARGET + 1);
  CHECK_EQ(t.cs, 0x40 + 16 + 3);
  CHECK_EQ(t.ss, 0x40 + 24 + 3);
  CHECK_EQ(t.rsp, STACK);
  refused(t_sysexitq, STACK, NOT_CANONICAL);
  refused(t_sysexitq, NOT_CANONICAL, TARGET);
}

void test(void) {
  cli();
  *pte_of(0, 2) |= PTE_U;
  write_cr3(read_cr3());
  AT(u8, (u64)TARGET) = 0xcc;
  static const unsigned caught[] = {VEC_BP, VEC_GP, VEC_NP, VEC_SS, VEC_PF, VEC_UD};
  for (unsigned n = 0; n < sizeof caught / sizeof caught[0]; ++n) set_gate(caught[n], trap_stub(caught[n]), 1, 3);
  const u64 low = gdt[0][SEL_TSS / 8];
  tss = (u8*)((low >> 16 & 0xffffff) | (low >> 56) << 24 | gdt[0][SEL_TSS / 8 + 1] << 32);
  AT(u64, tss + 12) = 0x5c00, AT(u64, tss + 20) = 0x5a00;  // RSP1, RSP2
  for (unsigned level = 0; level < 4; ++level) {
    gdt[0][CODE64_OF + level] = segment(0x1b, level, S_P | S_L);
    gdt[0][CODE32_OF + level] = segment(0x1b, level, S_P | S_D);
    gdt[0][DATA_OF + level] = segment(0x13, level, S_P | S_D);
  }
  asm volatile("mov %w0,%%ds" ::"r"(SEL_UDATA));  // 32-bit code needs one, at every level
  for (unsigned form = 0; form < FORMS; ++form)
    for (unsigned cpl = 0; cpl < 4; ++cpl) {
      // All of it once for JMP and CALL and code size; the operand size plays no role in most.
      const int first = form == 0 || form == 3 || form == 6 || form == 8;
      segments(form, cpl, first && (cpl == 0 || cpl == 3));
      if (first) gates(form, cpl);
    }
  CHECK(done > 15000);
  fast_returns();
}
