/* MSRs and control registers: which values they take, keep and refuse (SDM vol. 3, 2.5, 10.11.2.1, 12.12,
 * 18.17; vol. 4). Each row says what WRMSR of a value comes to; what was refused has changed nothing.
 */
#include "guest.h"

static struct { u32 number; u64 value; } access;
static void write_msr(u64 unused) { (void)unused; wrmsr(access.number, access.value); }
static void read_msr(u64 number) { rdmsr((u32)number); }
static u64 written(u32 number, u64 value) {
  access.number = number;
  access.value = value;
  return try_call(write_msr, 0).vector;
}

struct Row { u32 number; u64 good, bad; };

enum {
  SYSENTER_ESP = 0x175, SYSENTER_EIP = 0x176, PAT = 0x277, MTRR_BASE0 = 0x200,
  MTRR_MASK0 = 0x201, MTRR_64K = 0x250, MTRR_DEF = 0x2ff, MISC_ENABLE = 0x1a0, LSTAR = 0xc0000082,
  CSTAR = 0xc0000083, SFMASK = 0xc0000084, FS_BASE = 0xc0000100, GS_BASE = 0xc0000101,
  KERNEL_GS_BASE = 0xc0000102, AUX = 0xc0000103
};
#define NOT_CANONICAL 0x800000000000ull

static const struct Row rows[] = {
    {SYSENTER_ESP, 0xffff800000001234, NOT_CANONICAL},
    {SYSENTER_EIP, 0x7fffffffffff, ~NOT_CANONICAL},
    {LSTAR, 0xffffffff80001000, NOT_CANONICAL},
    {CSTAR, 0x1000, NOT_CANONICAL},
    {FS_BASE, 0xffff800000000000, NOT_CANONICAL},
    {GS_BASE, 0x1234, 0x0001000000000000},
    {KERNEL_GS_BASE, 0xffffffffffffffff, NOT_CANONICAL},
    {SFMASK, 0x47700, 1ull << 32},
    {AUX, 0xffffffff, 1ull << 32},
    {PAT, 0x0007040600070406, 2},
    {PAT, 0x0706050401000100, 3ull << 56},
    {MTRR_BASE0, 0xc0000000 | 6, 0xc0000000 | 2},
    {MTRR_BASE0, 0xd0000000, 1ull << 63},
    {MTRR_MASK0, 0xff000800, 0xff000001},
    {MTRR_64K, 0x0606060606060606, 0x0306060606060606},
    {MTRR_DEF, 0xc06, 0xc07},
    {MTRR_DEF, 0x806, 0x1000},
};

static void values(void) {
  for (unsigned n = 0; n < sizeof rows / sizeof rows[0]; ++n) {
    const u64 before = rdmsr(rows[n].number);
    CHECK_EQ(written(rows[n].number, rows[n].good), NO_TRAP);
    CHECK_EQ(rdmsr(rows[n].number), rows[n].good);
    CHECK_EQ(written(rows[n].number, rows[n].bad), VEC_GP);
    CHECK_EQ(rdmsr(rows[n].number), rows[n].good);
    CHECK_EQ(written(rows[n].number, before), NO_TRAP);
  }
}

/* Read-only and write-only ones, and those that do not exist. */
static void directions(void) {
  static const u32 read_only[] = {0x17, 0xfe, 0x10a, 0x179};
  static const u32 write_only[] = {0x49, 0x79};
  static const u32 missing[] = {0x12345, 0x4b564d00, 0x480, 0xc0010015, 0xffffffff};
  for (unsigned n = 0; n < sizeof read_only / 4; ++n) {
    CHECK_EQ(try_call(read_msr, read_only[n]).vector, NO_TRAP);
    CHECK_EQ(written(read_only[n], rdmsr(read_only[n])), VEC_GP);
  }
  for (unsigned n = 0; n < sizeof write_only / 4; ++n)
    CHECK_EQ(try_call(read_msr, write_only[n]).vector, VEC_GP);
  CHECK_EQ(written(0x49, 1), NO_TRAP);
  CHECK_EQ(written(0x49, 2), VEC_GP);
  for (unsigned n = 0; n < sizeof missing / 4; ++n) {
    const struct Trap t = try_call(read_msr, missing[n]);
    CHECK_EQ(t.vector, VEC_GP);
    CHECK_EQ(t.error, 0);
    CHECK_EQ(written(missing[n], 0), VEC_GP);
  }
  CHECK_EQ(rdmsr(0x8b) & 0xffffffff, 0);  // microcode: the revision is in the upper half
  CHECK(rdmsr(0x8b) >> 32 != 0);
  CHECK_EQ(rdmsr(0x17), 0);  // platform
  CHECK_EQ(rdmsr(MISC_ENABLE) >> 11 & 3, 3);  // neither BTS nor PEBS
}

static u64 upper_bits;
static void wide_msr(u64 number) {  // the upper halves of RCX, RAX and RDX play no role
  u64 a = upper_bits | 0x77, d = upper_bits;
  asm volatile("wrmsr" ::"c"(upper_bits | number), "a"(a), "d"(d));
}
static void halves(void) {
  upper_bits = 0xdead00000000;
  CHECK_EQ(try_call(wide_msr, AUX).vector, NO_TRAP);
  CHECK_EQ(rdmsr(AUX), 0x77);
  u64 a = ~0ull, d = ~0ull;
  asm volatile("rdmsr" : "+a"(a), "+d"(d) : "c"((u64)AUX));
  CHECK_EQ(a, 0x77);
  CHECK_EQ(d, 0);
  wrmsr(AUX, 0);
}

static void set_cr0(u64 v) { asm volatile("mov %0,%%cr0" ::"r"(v) : "memory"); }
static void set_cr3(u64 v) { asm volatile("mov %0,%%cr3" ::"r"(v) : "memory"); }
static void set_cr4(u64 v) { asm volatile("mov %0,%%cr4" ::"r"(v) : "memory"); }
static void set_cr8(u64 v) { asm volatile("mov %0,%%cr8" ::"r"(v)); }
static void get_cr1(u64 v) { asm volatile(".byte 0x0f,0x20,0xc8" ::"a"(v)); }
static void set_cr5(u64 v) { asm volatile(".byte 0x0f,0x22,0xe8" ::"a"(v)); }
static void get_cr9(u64 v) { asm volatile(".byte 0x44,0x0f,0x20,0xc8" ::"a"(v)); }

static void refused(void (*set)(u64), u64 value) {
  const struct Trap t = try_call(set, value);
  CHECK_EQ(t.vector, VEC_GP);
  CHECK_EQ(t.error, 0);
}

static void control_registers(void) {
  u64 cr0, cr3, cr4, cr8;
  asm volatile("mov %%cr0,%0; mov %%cr3,%1; mov %%cr4,%2" : "=r"(cr0), "=r"(cr3), "=r"(cr4));
  refused(set_cr0, cr0 | 1ull << 32);
  refused(set_cr0, cr0 | 1ull << 63);
  refused(set_cr0, cr0 & ~1ull);                      // PG without PE
  refused(set_cr0, cr0 & ~(1ull << 31));              // paging off in 64-bit code
  refused(set_cr0, (cr0 & ~(1ull << 30)) | 1ull << 29);  // NW without CD
  CHECK_EQ(try_call(set_cr0, cr0 | 1ull << 6 | 1ull << 28).vector, NO_TRAP);  // ignored
  u64 now;
  asm volatile("mov %%cr0,%0" : "=r"(now));
  CHECK_EQ(now, cr0);
  refused(set_cr3, cr3 | 1ull << 63);
  refused(set_cr3, cr3 | 1ull << 52);
  for (unsigned bit = 24; bit < 64; ++bit) refused(set_cr4, cr4 | 1ull << bit);
  refused(set_cr4, cr4 | 1ull << 12);  // 5-level paging is not offered
  refused(set_cr4, cr4 | 1ull << 13);  // VMX neither
  refused(set_cr4, cr4 & ~(1ull << 5));
  asm volatile("mov %%cr4,%0" : "=r"(now));
  CHECK_EQ(now, cr4);
  for (u64 v = 0; v < 16; ++v) {
    set_cr8(v);
    asm volatile("mov %%cr8,%0" : "=r"(cr8));
    CHECK_EQ(cr8, v);
  }
  set_cr8(0);
  refused(set_cr8, 16);
  refused(set_cr8, 1ull << 63);
  CHECK_EQ(try_call(get_cr1, 0).vector, VEC_UD);
  CHECK_EQ(try_call(set_cr5, 0).vector, VEC_UD);
  CHECK_EQ(try_call(get_cr9, 0).vector, VEC_UD);
}

void test(void) {
  values();
  directions();
  halves();
  control_registers();
}
