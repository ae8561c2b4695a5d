/* The register file: version, LVT bits, ESR that keeps errors until it is written, illegal vectors on
 * send and receive, the error entry; access rules of the page and of the MSRs (SDM vol. 3, 11.4, 11.5,
 * 11.12.1).
 */
#include "apic.h"

static volatile u64 errors;
static void on_error(struct Frame* f) {
  (void)f;
  ++errors;
  apic_eoi();
}
static void try_read(u64 msr) { rdmsr((u32)msr); }
static u64 value_to_write;
static void try_write(u64 msr) { wrmsr((u32)msr, value_to_write); }
static int read_faults(u32 msr) { return try_call(try_read, msr).vector == VEC_GP; }
static int write_faults(u32 msr, u64 value) {
  value_to_write = value;
  return try_call(try_write, msr).vector == VEC_GP;
}

static void lvt_bits(void) {
  static const struct {
    u32 reg, writable;
  } entries[] = {{APIC_LVT_CMCI, 0x107ff},   {APIC_LVT_TIMER, 0x700ff}, {APIC_LVT_THERMAL, 0x107ff},
                 {APIC_LVT_PERF, 0x107ff},   {APIC_LVT_LINT0, 0x1a7ff}, {APIC_LVT_LINT1, 0x1a7ff},
                 {APIC_LVT_ERROR, 0x100ff}};
  for (unsigned i = 0; i < sizeof entries / sizeof *entries; ++i) {
    const u32 reg = entries[i].reg, all = entries[i].writable;
    apic_write(reg, all);
    CHECK_EQ(apic_read(reg), all);
    if (x2apic()) CHECK(write_faults(apic_msr(reg), all | 1u << 31));
    else apic_write(reg, ~0u);
    CHECK_EQ(apic_read(reg), all);
    apic_write(reg, LVT_MASKED);
    CHECK_EQ(apic_read(reg), LVT_MASKED);
  }
}

static void error_status(void) {
  set_handler(0x90, on_error);
  apic_write(APIC_LVT_ERROR, 0x90);
  CHECK_EQ(apic_errors(), 0);
  apic_send(apic_id(), ICR_FIXED | 3);
  open_window();
  CHECK_EQ(errors, 1);
  CHECK_EQ(apic_read(APIC_ESR), 0);  // only a write shows what has come up
  apic_write(APIC_ESR, 0);
  CHECK_EQ(apic_read(APIC_ESR), 0x20);
  CHECK_EQ(apic_read(APIC_ESR), 0x20);
  CHECK_EQ(apic_errors(), 0);
  if (x2apic()) {
    apic_write(APIC_SELF_IPI, 3);
    open_window();
    CHECK_EQ(errors, 2);
    CHECK_EQ(apic_errors(), 0x40);
  } else {
    CHECK_EQ(AT(u32, LAPIC_PAGE + 0x40), 0);
    AT(u32, LAPIC_PAGE + 0x3f0) = 0x44;
    open_window();
    CHECK_EQ(errors, 2);  // two errors, one interrupt
    CHECK_EQ(apic_errors(), 0x80);
  }
  apic_write(APIC_LVT_ERROR, LVT_MASKED);
}

static void page_rules(void) {
  CHECK_EQ(apic_read(APIC_DFR), 0xffffffff);
  apic_write(APIC_DFR, 0);
  CHECK_EQ(apic_read(APIC_DFR), 0x0fffffff);
  apic_write(APIC_DFR, ~0u);
  apic_write(APIC_LDR, ~0u);
  CHECK_EQ(apic_read(APIC_LDR), 0xff000000);
  apic_write(APIC_VERSION, 0);
  CHECK_EQ(apic_read(APIC_VERSION), 0x01060014);
  for (u32 msr = 0x800; msr < 0x900; ++msr) CHECK(read_faults(msr) && write_faults(msr, 0));
}

static void msr_rules(void) {
  CHECK_EQ(apic_read(APIC_LDR), apic_id() >> 4 << 16 | 1u << (apic_id() & 15));
  static const u16 absent[] = {0x800, 0x801, 0x804, 0x807, 0x809, 0x80c, 0x80e, 0x829, 0x82e,
                               0x831, 0x83a, 0x83d, 0x840, 0x8ff};
  for (unsigned i = 0; i < sizeof absent / sizeof *absent; ++i)
    CHECK(read_faults(absent[i]) && write_faults(absent[i], 0));
  static const u16 read_only[] = {0x802, 0x803, 0x80a, 0x80d, 0x810, 0x818, 0x827, 0x839};
  for (unsigned i = 0; i < sizeof read_only / sizeof *read_only; ++i)
    CHECK(!read_faults(read_only[i]) && write_faults(read_only[i], 0));
  CHECK(read_faults(0x80b) && read_faults(0x83f));
  CHECK(write_faults(0x80b, 1) && write_faults(0x828, 1));
  CHECK(write_faults(0x808, 0x100) && write_faults(0x808, 1ull << 32));
  CHECK(write_faults(0x80f, 1u << 10) && write_faults(0x83e, 4) && write_faults(0x83f, 0x100));
  CHECK(write_faults(0x830, 1u << 13) && write_faults(0x830, 1u << 20));
  // The page is gone: nothing is there.
  CHECK_EQ(AT(u32, LAPIC_PAGE + APIC_VERSION), 0xffffffff);
}

void test(void) {
  cli();
  apic_start();
  CHECK_EQ(apic_read(APIC_VERSION), 0x01060014);
  CHECK_EQ(apic_id(), 0);
  lvt_bits();
  error_status();
  if (x2apic()) msr_rules();
  else page_rules();
  // The software disable masks every entry and keeps it so.
  apic_write(APIC_LVT_PERF, 0x50);
  apic_write(APIC_SVR, 0xff);
  CHECK_EQ(apic_read(APIC_LVT_PERF), LVT_MASKED | 0x50);
  apic_write(APIC_LVT_PERF, 0x51);
  CHECK_EQ(apic_read(APIC_LVT_PERF), LVT_MASKED | 0x51);
  apic_enable();
  CHECK_EQ(apic_read(APIC_LVT_PERF), LVT_MASKED | 0x51);
}
