/* Page sizes, rights and error codes; WP, NX, SMEP, SMAP with AC, reserved bits, A/D bits
 * (SDM vol. 3, 4.6 to 4.8).
 */
#include "guest.h"

static void read8(u64 a) { (void)AT(u8, a); }
static void write8(u64 a) { AT(u8, a) = 1; }
static void call_at(u64 a) { ((void (*)(void))a)(); }
static void read8_ac(u64 a) {
  asm volatile("stac; movb (%0),%%al; clac" ::"r"(a) : "rax", "memory");
}
USER static u64 user_read(u64 a) { return AT(u8, a); }
USER static u64 user_write(u64 a) { return AT(u8, a) = 1; }
USER static u64 user_call(u64 a) { ((void (*)(void))a)(); return 5; }

static void expect_pf(struct Trap t, u64 address, u64 error) {
  CHECK_EQ(t.vector, VEC_PF);
  CHECK_EQ(t.cr2, address);
  CHECK_EQ(t.error, error);
}

static void rights(void) {
  const u64 page = free_page();
  AT(u8, page) = 0xc3;  // RET
  map_page(FREE_VA, page, PTE_P | PTE_W | PTE_U, 1);
  CHECK_EQ(try_user(user_write, FREE_VA + 4).vector, VEC_USER_END);
  expect_pf(try_user(user_read, FREE_VA + 0x1000), FREE_VA + 0x1000, PF_U);
  expect_pf(try_user(user_write, FREE_VA + 0x1234), FREE_VA + 0x1234, PF_U | PF_W);
  expect_pf(try_call(read8, FREE_VA + 0x1000), FREE_VA + 0x1000, 0);
  expect_pf(try_user(user_read, 0x100000), 0x100000, PF_U | PF_P);
  map_page(FREE_VA, page, PTE_P | PTE_U, 1);
  expect_pf(try_user(user_write, FREE_VA), FREE_VA, PF_U | PF_W | PF_P);
  expect_pf(try_call(write8, FREE_VA), FREE_VA, PF_W | PF_P);
  write_cr0(read_cr0() & ~CR0_WP);
  CHECK_EQ(try_call(write8, FREE_VA + 8).vector, NO_TRAP);
  write_cr0(read_cr0() | CR0_WP);
  expect_pf(try_call(write8, FREE_VA), FREE_VA, PF_W | PF_P);
  CHECK_EQ(try_user(user_call, FREE_VA).rax, 5);
  map_page(FREE_VA, page, PTE_P | PTE_U | PTE_NX, 1);
  expect_pf(try_user(user_call, FREE_VA), FREE_VA, PF_U | PF_I | PF_P);
  expect_pf(try_call(call_at, FREE_VA), FREE_VA, PF_I | PF_P);
  CHECK_EQ(try_user(user_read, FREE_VA).rax, 0xc3);
}

/* #GP of an operand that must be aligned: its page is neither accessed nor dirty, in translated code, too. */
static void store_aligned(u64 a) { asm volatile("movaps %%xmm0,(%0)" ::"r"(a) : "memory"); }
static void load_aligned(u64 a) { asm volatile("movaps (%0),%%xmm0" ::"r"(a) : "memory"); }
static void alignment(void) {
  void (*const forms[])(u64) = {store_aligned, load_aligned};
  map_page(FREE_VA, free_page(), PTE_P | PTE_W, 1);
  for (unsigned n = 0; n < 2; ++n) {
    for (unsigned k = 0; k < 2000; ++k) CHECK_EQ(try_call(forms[n], FREE_VA + k % 64 * 16).vector, NO_TRAP);
    const u64 page = free_page();
    map_page(FREE_VA + 0x1000, page, PTE_P | PTE_W, 1);
    CHECK_EQ(try_call(forms[n], FREE_VA + 0x1008).vector, VEC_GP);
    CHECK_EQ(*pte_of(FREE_VA + 0x1000, 1), page | PTE_P | PTE_W);
    CHECK_EQ(try_call(forms[n], FREE_VA + 0x1010).vector, NO_TRAP);
    CHECK_EQ(*pte_of(FREE_VA + 0x1000, 1), page | PTE_P | PTE_W | PTE_A | (n ? 0 : PTE_D));
  }
  *pte_of(FREE_VA, 1) = 0, *pte_of(FREE_VA + 0x1000, 1) = 0;
  write_cr3(read_cr3());
}

static void smep_and_smap(void) {
  const u64 page = free_page();
  AT(u8, page) = 0xc3;
  map_page(FREE_VA, page, PTE_P | PTE_W | PTE_U, 1);
  CHECK_EQ(try_call(call_at, FREE_VA).vector, NO_TRAP);
  write_cr4(read_cr4() | CR4_SMEP);
  expect_pf(try_call(call_at, FREE_VA), FREE_VA, PF_I | PF_P);
  CHECK_EQ(try_call(read8, FREE_VA).vector, NO_TRAP);
  write_cr4(read_cr4() | CR4_SMAP);
  expect_pf(try_call(read8, FREE_VA), FREE_VA, PF_P);
  expect_pf(try_call(write8, FREE_VA), FREE_VA, PF_P | PF_W);
  CHECK_EQ(try_call(read8_ac, FREE_VA).vector, NO_TRAP);
  expect_pf(try_call(read8, FREE_VA), FREE_VA, PF_P);
  CHECK_EQ(try_user(user_read, FREE_VA).vector, VEC_USER_END);
  write_cr4(read_cr4() & ~(CR4_SMEP | CR4_SMAP));
  CHECK_EQ(try_call(call_at, FREE_VA).vector, NO_TRAP);
}

static void accessed_and_dirty(unsigned level) {
  const u64 va = FREE_VA + (8ull << 30), size = 1ull << (12 + 9 * (level - 1));
  const u64 pa = level == 3 ? 0 : level == 2 ? 0x1000000 : free_page();
  map_page(va, pa, PTE_P | PTE_W, level);
  volatile u64* e = pte_of(va, level);
  volatile u64* top = pte_of(va, 4);
  *top &= ~PTE_A;
  write_cr3(read_cr3());
  CHECK_EQ(*e & (PTE_A | PTE_D), 0);
  (void)AT(u64, va + size - 0x3000 + 0x2000);
  CHECK_EQ(*e & (PTE_A | PTE_D), PTE_A);
  CHECK_EQ(*top & PTE_A, PTE_A);
  CHECK_EQ(*top & PTE_D, 0);
  const u64 there = level == 3 ? 0x1800000 : 0x40;  // spare memory
  AT(u64, va + there) = 0x1122;
  CHECK_EQ(*e & (PTE_A | PTE_D), PTE_A | PTE_D);
  CHECK_EQ(AT(u64, pa + there), 0x1122);
  // a write that is refused sets no dirty bit
  *e = pa | PTE_P | (level > 1 ? PTE_PS : 0);
  invlpg(va);
  CHECK_EQ(try_call(write8, va).vector, VEC_PF);
  CHECK_EQ(*e & PTE_D, 0);
  *e = 0;
  invlpg(va);
}

static void reserved_bits(void) {
  const u64 va = FREE_VA + (16ull << 30);
  map_page(va, free_page(), PTE_P | PTE_W, 1);
  volatile u64* e = pte_of(va, 1);
  *e |= 1ull << 51;
  invlpg(va);
  expect_pf(try_call(read8, va), va, PF_P | PF_RSVD);
  expect_pf(try_call(write8, va), va, PF_P | PF_RSVD | PF_W);
  *e &= ~(1ull << 51);
  invlpg(va);
  CHECK_EQ(try_call(read8, va).vector, NO_TRAP);
  map_page(va + (2 << 20), 0x1000000 | 1 << 13, PTE_P | PTE_W, 2);  // bits 20-13 of a large page
  expect_pf(try_call(read8, va + (2 << 20)), va + (2 << 20), PF_P | PF_RSVD);
  volatile u64* top = pte_of(va, 4);
  *top |= PTE_PS;
  write_cr3(read_cr3());
  expect_pf(try_call(read8, va), va, PF_P | PF_RSVD);
  *top &= ~PTE_PS;
  write_cr3(read_cr3());
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~0x800ull);  // without NXE, bit 63 is reserved
  *e |= PTE_NX;
  write_cr3(read_cr3());
  expect_pf(try_call(read8, va), va, PF_P | PF_RSVD);
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 0x800);
  CHECK_EQ(try_call(read8, va).vector, NO_TRAP);
}

static void addresses(void) {
  struct Trap t = try_call(read8, 0x800000000000);
  CHECK_EQ(t.vector, VEC_GP);
  CHECK_EQ(t.error, 0);
  t = try_call(call_at, 0x800000000000);
  CHECK_EQ(t.vector, VEC_GP);
  // across a border: CR2 is the first byte that cannot be reached
  map_page(FREE_VA + 0x10000, free_page(), PTE_P | PTE_W, 1);
  t = try_call(read8, FREE_VA + 0x10fff);
  CHECK_EQ(t.vector, NO_TRAP);
}

void test(void) {
  rights();
  alignment();
  smep_and_smap();
  for (unsigned level = 1; level <= 3; ++level) accessed_and_dirty(level);
  reserved_bits();
  addresses();
}
