/* IA32_APIC_BASE: the legal transitions between disabled, xAPIC and x2APIC, #GP for the others, the
 * page that moves, and what a way through "disabled" loses (SDM vol. 3, 11.4.3, 11.12.5).
 */
#include "apic.h"

enum { EN = 0x800, EXTD = 0x400, BSP = 0x100 };
static u64 value_to_write;
static void try_write(u64 msr) { wrmsr((u32)msr, value_to_write); }
static int refused(u64 value) {
  value_to_write = value;
  return try_call(try_write, MSR_APIC_BASE).vector == VEC_GP;
}

void test(void) {
  cli();
  apic_start();
  const u64 page = LAPIC_PAGE;
  CHECK_EQ(rdmsr(MSR_APIC_BASE), page | BSP | EN | (x2apic() ? EXTD : 0));
  u32 leaf[4];
  cpuid(1, 0, leaf);
  CHECK(leaf[2] >> 21 & 1);
  CHECK(leaf[3] >> 9 & 1);
  if (x2apic()) {
    CHECK(refused(page | BSP | EN));    // back to xAPIC only through disabled
    CHECK(refused(page | BSP | EXTD));  // no such mode
    apic_write(APIC_TPR, 0x20);
    wrmsr(MSR_APIC_BASE, page | BSP);
    cpuid(1, 0, leaf);
    CHECK_EQ(leaf[3] >> 9 & 1, 0);
    CHECK(refused(page | BSP | EN | EXTD));  // not at once
    wrmsr(MSR_APIC_BASE, page | BSP | EN);
  }
  CHECK_EQ(apic_read(APIC_TPR), 0);
  CHECK(refused(page | BSP | EXTD));
  CHECK(refused(page | BSP | EN | 1));       // reserved
  CHECK(refused(page | BSP | EN | 1ull << 60));
  wrmsr(MSR_APIC_BASE, page | EN);           // the BSP flag is not the guest's
  CHECK_EQ(rdmsr(MSR_APIC_BASE), page | BSP | EN);

  // The page moves and comes back.
  const u64 other = 0xfd001000;
  map_page(0xfd000000 & ~0x1fffffull, 0xfd000000 & ~0x1fffffull, DEVICE_PAGE, 2);
  CHECK_EQ(AT(u32, other + APIC_VERSION), 0xffffffff);
  wrmsr(MSR_APIC_BASE, other | BSP | EN);
  CHECK_EQ(AT(u32, other + APIC_VERSION), 0x01060014);
  CHECK_EQ(AT(u32, LAPIC_PAGE + APIC_VERSION), 0xffffffff);
  wrmsr(MSR_APIC_BASE, page | BSP | EN);
  CHECK_EQ(AT(u32, LAPIC_PAGE + APIC_VERSION), 0x01060014);
  CHECK_EQ(AT(u32, other + APIC_VERSION), 0xffffffff);

  // Over RAM the page hides it from this CPU, and RAM keeps what it had.
  static u8 memory[2 * 4096] __attribute__((aligned(4096)));
  const u64 ram = (u64)memory;
  AT(u32, ram + APIC_VERSION) = 0x12345678;
  AT(u32, ram + APIC_TPR) = 0x9abcdef0;
  AT(u32, ram + 4096) = 1;
  wrmsr(MSR_APIC_BASE, ram | BSP | EN);
  CHECK_EQ(AT(u32, ram + APIC_VERSION), 0x01060014);
  CHECK_EQ(AT(u32, LAPIC_PAGE + APIC_VERSION), 0xffffffff);
  AT(u32, ram + APIC_TPR) = 0x40;
  CHECK_EQ(AT(u32, ram + APIC_TPR), 0x40);
  CHECK_EQ(AT(u32, ram + 4096), 1);  // the next page is RAM
  wrmsr(MSR_APIC_BASE, page | BSP | EN);
  CHECK_EQ(AT(u32, ram + APIC_VERSION), 0x12345678);
  CHECK_EQ(AT(u32, ram + APIC_TPR), 0x9abcdef0);
  CHECK_EQ(apic_read(APIC_TPR), 0x40);
  apic_write(APIC_TPR, 0);

  // xAPIC to x2APIC keeps the registers; disabled loses them.
  apic_enable();
  apic_write(APIC_TPR, 0x30);
  apic_write(APIC_LVT_PERF, 0x55);
  wrmsr(MSR_APIC_BASE, page | BSP | EN | EXTD);
  CHECK_EQ(apic_read(APIC_TPR), 0x30);
  CHECK_EQ(apic_read(APIC_LVT_PERF), 0x55);
  CHECK_EQ(apic_read(APIC_SVR), 0x1ff);
  CHECK_EQ(apic_read(APIC_LDR), 1);
  wrmsr(MSR_APIC_BASE, page | BSP);
  CHECK_EQ(AT(u32, LAPIC_PAGE + APIC_VERSION), 0xffffffff);
  wrmsr(MSR_APIC_BASE, page | BSP | EN);
  CHECK_EQ(apic_read(APIC_SVR), 0xff);
  CHECK_EQ(apic_read(APIC_LVT_PERF), LVT_MASKED);
  CHECK_EQ(apic_read(APIC_TPR), 0);
}
