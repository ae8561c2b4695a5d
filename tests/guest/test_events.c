/* Delivery that fails: gates that are absent, of a wrong type, beyond the IDT's limit, or that name a
 * code segment which cannot be; which exception follows, with which error code, and when it is a
 * double fault (SDM vol. 3, 6.12, 6.13, 6.15 table 6-5).
 */
#include "guest.h"

struct Table { u16 limit; u64 base; } __attribute__((packed));
static u64* idt;
static struct Table idtr;

static void divide(u64 unused) { (void)unused; asm volatile("xor %%edx,%%edx; div %0" ::"r"(0) : "rax", "rdx"); }
static void ud(u64 unused) { (void)unused; asm volatile("ud2"); }
static void bp(u64 unused) { (void)unused; asm volatile("int3"); }
static void int60(u64 unused) { (void)unused; asm volatile("int $0x60"); }
static void fault_page(u64 a) { (void)AT(u8, a); }
static void load_bad(u64 selector) { asm volatile("mov %w0,%%ds" ::"r"(selector)); }

struct First { void (*cause)(u64); u64 argument; unsigned vector; int contributory, software; };
static const struct First firsts[] = {
    {divide, 0, VEC_DE, 1, 0}, {ud, 0, VEC_UD, 0, 0}, {bp, 0, VEC_BP, 0, 1}, {int60, 0, 0x60, 0, 1},
    {load_bad, 0x1000, VEC_GP, 1, 0}, {fault_page, FREE_VA, VEC_PF, 1, 0}};

enum { FIRSTS = sizeof firsts / sizeof firsts[0] };

// The gate as it is spoiled, and what is to come of it.
static void expect(const struct First* f, u64 low, u64 high, unsigned vector, u64 error) {
  u64* gate = idt + 2 * f->vector;
  const u64 old[2] = {gate[0], gate[1]};
  gate[0] = low, gate[1] = high;
  const struct Trap t = try_call(f->cause, f->argument);
  gate[0] = old[0], gate[1] = old[1];
  if (f->contributory) {
    CHECK_EQ(t.vector, VEC_DF);
    CHECK_EQ(t.error, 0);
  } else {
    CHECK_EQ(t.vector, vector);
    CHECK_EQ(t.error, error | !f->software);
  }
}

static u64 with_selector(u64 low, u64 selector) { return (low & ~0xffff0000ull) | selector << 16; }

static void gates(const struct First* f) {
  const u64 low = idt[2 * f->vector], high = idt[2 * f->vector + 1];
  const u64 gate_error = f->vector * 8 + 2;
  expect(f, low & ~(1ull << 47), high, VEC_NP, gate_error);
  for (u64 type = 0; type < 32; ++type)
    if (type != 14 && type != 15)
      expect(f, (low & ~(31ull << 40)) | type << 40, high, VEC_GP, gate_error);
  expect(f, with_selector(low, 0), high, VEC_GP, 0);
  expect(f, with_selector(low, 3), high, VEC_GP, 0);
  expect(f, with_selector(low, GDT_ENTRIES * 8), high, VEC_GP, GDT_ENTRIES * 8);
  expect(f, with_selector(low, SEL_DATA), high, VEC_GP, SEL_DATA);
  expect(f, with_selector(low, SEL_CODE32), high, VEC_GP, SEL_CODE32);
  expect(f, with_selector(low, SEL_UCODE64 & ~3), high, VEC_GP, SEL_UCODE64 & ~3);  // DPL 3 at CPL 0
  gdt[0][SEL_FREE / 8] = gdt[0][SEL_CODE64 / 8] & ~(1ull << 47);
  expect(f, with_selector(low, SEL_FREE), high, VEC_NP, SEL_FREE);
  expect(f, low, high ^ 0x8000, VEC_GP, 0);  // the target is not canonical
}

static void limits(void) {
  for (unsigned n = 0; n < FIRSTS; ++n) {
    const struct First* f = &firsts[n];
    if (f->contributory || f->vector < VEC_GP) continue;
    const struct Table shorter = {(u16)(f->vector * 16 + 14), idtr.base};
    asm volatile("lidt %0" ::"m"(shorter));
    const struct Trap t = try_call(f->cause, f->argument);
    asm volatile("lidt %0" ::"m"(idtr));
    CHECK_EQ(t.vector, VEC_GP);
    CHECK_EQ(t.error, f->vector * 8 + 2);
  }
}

void test(void) {
  asm volatile("sidt %0" : "=m"(idtr));
  idt = (u64*)idtr.base;
  set_gate(VEC_DF, trap_stub(VEC_DF), 1, 0);
  set_gate(0x60, trap_stub(0x60), 0, 0);
  for (unsigned n = 0; n < FIRSTS; ++n) gates(&firsts[n]);
  limits();
  // The gate of the exception that follows is missing too: contributory after contributory.
  idt[2 * VEC_NP] &= ~(1ull << 47), idt[2 * VEC_UD] &= ~(1ull << 47);
  CHECK_EQ(try_call(ud, 0).vector, VEC_DF);
}
