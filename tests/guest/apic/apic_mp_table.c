/* Starts all processors from the MP table alone: finds the floating pointer in the BIOS's ROM, walks
 * the configuration table and does what its entries say (MP specification 4 and B.4).
 * @vcpus 4
 * @mptable
 */
#include "apic.h"

extern u8 ap_code[], ap_code_end[], ap_cr3[], ap_stack[], ap_entry[];
static u8 stacks[4][4096] __attribute__((aligned(16)));
static volatile u64 running, ticks;
static volatile u32 seen;

static u8 sum(u64 at, u32 size) {
  u8 s = 0;
  while (size--) s = (u8)(s + AT(u8, at++));
  return s;
}
static int text_is(u64 at, const char* text) {
  for (; *text; ++text, ++at)
    if (AT(u8, at) != (u8)*text) return 0;
  return 1;
}
static u64 find_table(void) {
  for (u64 at = 0xf0000; at < 0x100000; at += 16)
    if (text_is(at, "_MP_") && sum(at, AT(u8, at + 8) * 16u) == 0) return AT(u32, at + 4);
  return 0;
}
static void other_cpu(void) {
  apic_enable();
  __atomic_fetch_or(&seen, 1u << apic_id(), __ATOMIC_SEQ_CST);
  __atomic_fetch_add(&running, 1, __ATOMIC_SEQ_CST);
  for (;;) pause();
}
// Universal start-up algorithm (MP specification B.4).
static void start(u32 id) {
  u8* const low = (u8*)0x8000;
  for (size_t i = 0; i < (size_t)(ap_code_end - ap_code); ++i) low[i] = ap_code[i];
  AT(u64, low + (ap_cr3 - ap_code)) = read_cr3();
  AT(u64, low + (ap_stack - ap_code)) = (u64)(stacks[id] + sizeof stacks[0]);
  AT(u64, low + (ap_entry - ap_code)) = (u64)other_cpu;
  const u64 wanted = running + 1;
  apic_send(id, ICR_INIT | 0x8000 | ICR_ASSERT);
  apic_send(id, ICR_INIT | 0x8000);
  wait_us(10000);
  for (int i = 0; i < 2; ++i) {
    apic_send(id, ICR_STARTUP | 8);
    wait_us(200);
  }
  CHECK(await(&running, wanted));
}
static void on_tick(struct Frame* f) {
  (void)f;
  ++ticks;
  apic_eoi();
}

void test(void) {
  cli();
  const u64 table = find_table();
  CHECK(table && text_is(table, "PCMP"));
  const u32 length = AT(u16, table + 4);
  CHECK_EQ(sum(table, length), 0);
  CHECK_EQ(AT(u32, table + 36), LAPIC_PAGE);
  apic_start();
  u32 ids = 0, isa = 0, ioapic = 0, lint = 0, pit_pin = 0xff;
  u64 at = table + 44;
  for (unsigned n = AT(u16, table + 34); n; --n) {
    const u8 type = AT(u8, at);
    if (type == 0 && AT(u8, at + 3) & 1) {
      const u32 id = AT(u8, at + 1);
      ids |= 1u << id;
      CHECK_EQ(AT(u8, at + 3) >> 1 & 1, id == apic_id());
      if (id != apic_id()) start(id);
    } else if (type == 1 && text_is(at + 2, "ISA")) {
      isa = AT(u8, at + 1);
    } else if (type == 2) {
      ioapic = AT(u32, at + 4);
    } else if (type == 3 && AT(u8, at + 1) == 0 && AT(u8, at + 4) == isa && AT(u8, at + 5) == 0) {
      pit_pin = AT(u8, at + 7);
    } else if (type == 4) {
      lint |= (u32)AT(u8, at + 1) << 4 * AT(u8, at + 7);
    }
    at += type == 0 ? 20 : 8;
  }
  CHECK_EQ(at, table + length);
  CHECK_EQ(ids, 0xf);
  CHECK_EQ(seen, 0xe);
  CHECK_EQ(ioapic, IOAPIC_PAGE);
  CHECK_EQ(lint, 0x13);  // LINT0 ExtINT, LINT1 NMI
  set_handler(0x60, on_tick);
  ioapic_route(pit_pin, apic_id() << 24, 0x60);
  outb(0x43, 0x34);
  outb(0x40, 0xff);
  outb(0x40, 0x10);
  sti();
  CHECK(await(&ticks, 3));
  cli();
}
