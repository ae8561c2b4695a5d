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

/* Bit by bit: what can be written, what is only read (writes of it are lost), and #GP for the rest. */
static void bits(void) {
  static const struct { u32 number; u64 writable, read_only; } table[] = {
      {MISC_ENABLE, 0x400c50009, 0x1880},           // vol. 4, table 2-2
      {0xc0000080, 0x801, 1ull << 10},              // EFER: SCE, NXE; LMA is read-only, LME cannot change now
      {0x48, 0x403, 0},                             // SPEC_CTRL: IBRS, STIBP, BHI_DIS_S
      {0x17a, 0, 0},                                // MCG_STATUS
      {0x1d9, 0, 0},                                // DEBUGCTL
      {SFMASK, 0xffffffff, 0},
      {AUX, 0xffffffff, 0},
      {0xc0000081, ~0ull, 0},                       // STAR
      {MTRR_MASK0, ((1ull << 46) - 1) & ~0x7ffull, 0},
      {MTRR_MASK0 + 14, ((1ull << 46) - 1) & ~0x7ffull, 0},
      {MTRR_BASE0 + 14, ((1ull << 46) - 1) & ~0xffaull, 0},  // types 1, 4 and none between
      {MTRR_DEF, 0xc05, 0},
      {0x3a, 0, 0},                                 // FEATURE_CONTROL is locked
  };
  for (unsigned n = 0; n < sizeof table / sizeof table[0]; ++n)
    for (unsigned bit = 0; bit < 64; ++bit) {
      const u64 before = rdmsr(table[n].number), value = before ^ 1ull << bit;
      const int writable = table[n].writable >> bit & 1, lost = table[n].read_only >> bit & 1;
      const u64 vector = written(table[n].number, value), after = rdmsr(table[n].number);
      if (vector != (writable || lost ? NO_TRAP : VEC_GP) || after != (writable ? value : before)) {
        put("MSR "), put_hex(table[n].number), put(" bit "), put_hex(bit), put(" is "), put_hex(after), put("\n");
        CHECK_EQ(vector, writable || lost ? NO_TRAP : VEC_GP);
        CHECK_EQ(after, writable ? value : before);
      }
      if (writable) CHECK_EQ(written(table[n].number, before), NO_TRAP);
    }
  // the types of memory in each byte of PAT and of the fixed ranges
  for (unsigned type = 0; type < 256; ++type)
    for (unsigned byte = 0; byte < 8; ++byte) {
      const int mtrr = type < 2 || (type >= 4 && type <= 6);
      const u64 value = (0x0606060606060606ull & ~(0xffull << 8 * byte)) | (u64)type << 8 * byte;
      CHECK_EQ(written(MTRR_64K, value), mtrr ? NO_TRAP : VEC_GP);
      CHECK_EQ(written(0x26f, value), mtrr ? NO_TRAP : VEC_GP);
      CHECK_EQ(written(PAT, value), mtrr || type == 7 ? NO_TRAP : VEC_GP);
    }
  wrmsr(PAT, 0x0007040600070406);
  for (u32 missing = 0x210; missing < 0x220; ++missing) CHECK_EQ(try_call(read_msr, missing).vector, VEC_GP);
}

/* What MISC_ENABLE does to CPUID and to EFER. */
static void set_efer(u64 v) { wrmsr(0xc0000080, v); }
static void misc_enable(void) {
  const u64 before = rdmsr(MISC_ENABLE);
  u32 whole[4], limited[4], beyond[4];
  cpuid(0, 0, whole);
  CHECK(whole[0] > 2);
  wrmsr(MISC_ENABLE, before | 1ull << 22);
  cpuid(0, 0, limited);
  CHECK_EQ(limited[0], 2);
  CHECK_EQ(limited[1], whole[1]);
  cpuid(2, 0, limited);
  cpuid(7, 0, beyond);
  for (unsigned n = 0; n < 4; ++n) CHECK_EQ(beyond[n], limited[n]);
  wrmsr(MISC_ENABLE, before);
  cpuid(0, 0, limited);
  CHECK_EQ(limited[0], whole[0]);
  const u64 efer = rdmsr(0xc0000080) & ~0x800ull;
  wrmsr(0xc0000080, efer);
  wrmsr(MISC_ENABLE, before | 1ull << 34);
  cpuid(0x80000001, 0, limited);
  CHECK_EQ(limited[3] >> 20 & 1, 0);
  CHECK_EQ(try_call(set_efer, efer | 0x800).vector, VEC_GP);
  wrmsr(MISC_ENABLE, before);
  cpuid(0x80000001, 0, limited);
  CHECK_EQ(limited[3] >> 20 & 1, 1);
  CHECK_EQ(try_call(set_efer, efer | 0x800).vector, NO_TRAP);
  CHECK_EQ(try_call(set_efer, efer & ~0x100ull).vector, VEC_GP);  // LME while paging
  CHECK_EQ(rdmsr(0xc0000080), efer | 0x800);
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
  u32 features[4];
  cpuid(1, 0, features);
  if (features[2] >> 17 & 1) {  // PCIDE: only while bits 11-0 of CR3 are clear
    for (u64 low = 8; low <= 16; low <<= 1) {  // PWT, PCD
      write_cr3(cr3 | low);
      refused(set_cr4, cr4 | 1ull << 17);
    }
    write_cr3(cr3);
    CHECK_EQ(try_call(set_cr4, cr4 | 1ull << 17).vector, NO_TRAP);
    CHECK_EQ(try_call(set_cr3, cr3 | 0xfff).vector, NO_TRAP);
    write_cr3(cr3);
    refused(set_cr4, (cr4 | 1ull << 17) & ~(1ull << 5));
    CHECK_EQ(try_call(set_cr4, cr4).vector, NO_TRAP);
  }
  // every combination of PE, WP, NW, CD and PG
  for (unsigned n = 0; n < 32; ++n) {
    const u64 value = (cr0 & ~(1ull | 1 << 16 | 7ull << 29)) | (n & 1) | (u64)(n >> 1 & 1) << 16 | (u64)(n >> 2) << 29;
    const int allowed = (n & 1) && (n & 16) && !((n & 12) == 4);
    CHECK_EQ(try_call(set_cr0, value).vector, allowed ? NO_TRAP : VEC_GP);
    CHECK_EQ(read_cr0(), allowed ? value : cr0);
    write_cr0(cr0);
  }
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
  bits();
  misc_enable();
  directions();
  halves();
  control_registers();
}
