#pragma once
// The local APIC in whichever mode it is, the I/O APIC and the HPET, for the programs of this folder.
#include "guest.h"

enum {
  APIC_ID = 0x20, APIC_VERSION = 0x30, APIC_TPR = 0x80, APIC_PPR = 0xa0, APIC_EOI = 0xb0,
  APIC_LDR = 0xd0, APIC_DFR = 0xe0, APIC_SVR = 0xf0, APIC_ISR = 0x100, APIC_TMR = 0x180,
  APIC_IRR = 0x200, APIC_ESR = 0x280, APIC_LVT_CMCI = 0x2f0, APIC_ICR = 0x300, APIC_ICR_HIGH = 0x310,
  APIC_LVT_TIMER = 0x320, APIC_LVT_THERMAL = 0x330, APIC_LVT_PERF = 0x340, APIC_LVT_LINT0 = 0x350,
  APIC_LVT_LINT1 = 0x360, APIC_LVT_ERROR = 0x370, APIC_TIMER_INITIAL = 0x380,
  APIC_TIMER_CURRENT = 0x390, APIC_TIMER_DIVIDE = 0x3e0, APIC_SELF_IPI = 0x3f0
};
enum {
  ICR_FIXED = 0, ICR_LOWEST = 0x100, ICR_SMI = 0x200, ICR_REMOTE_READ = 0x300, ICR_NMI = 0x400,
  ICR_INIT = 0x500, ICR_STARTUP = 0x600, ICR_LOGICAL = 0x800, ICR_ASSERT = 0x4000,
  ICR_SELF = 0x40000, ICR_ALL = 0x80000, ICR_OTHERS = 0xc0000, LVT_MASKED = 0x10000,
  LVT_PERIODIC = 0x20000, LVT_TSC_DEADLINE = 0x40000
};
#define MSR_APIC_BASE 0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define LAPIC_PAGE 0xfee00000ull
#define IOAPIC_PAGE 0xfec00000ull
#define HPET_PAGE 0xfed00000ull
#define PORT_SPINDOWNS 0xf7
#define PORT_LOCAL_IRQ 0xf8
#define DEVICE_PAGE (PTE_P | PTE_W | 0x18)

INLINE int x2apic(void) { return (int)(rdmsr(MSR_APIC_BASE) >> 10 & 1); }
INLINE u32 apic_msr(u32 reg) { return 0x800 + reg / 16; }
INLINE u32 apic_read(u32 reg) {
  return x2apic() ? (u32)rdmsr(apic_msr(reg)) : AT(u32, LAPIC_PAGE + reg);
}
INLINE void apic_write(u32 reg, u32 value) {
  if (x2apic()) wrmsr(apic_msr(reg), value);
  else AT(u32, LAPIC_PAGE + reg) = value;
}
INLINE u32 apic_id(void) { return x2apic() ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24; }
INLINE void apic_eoi(void) { apic_write(APIC_EOI, 0); }
INLINE void apic_send(u32 destination, u32 low) {
  if (x2apic()) {
    wrmsr(apic_msr(APIC_ICR), (u64)destination << 32 | low);
  } else {
    AT(u32, LAPIC_PAGE + APIC_ICR_HIGH) = destination << 24;
    AT(u32, LAPIC_PAGE + APIC_ICR) = low;
  }
}
// Bit `vector` of ISR, TMR or IRR.
INLINE unsigned apic_bit(u32 bank, unsigned vector) {
  return apic_read(bank + vector / 32 * 16) >> vector % 32 & 1;
}
// The errors since the last call.
INLINE u32 apic_errors(void) {
  apic_write(APIC_ESR, 0);
  return apic_read(APIC_ESR);
}
INLINE void apic_enable(void) { apic_write(APIC_SVR, 0x1ff); }
// Maps the chips and enables the local APIC of the first vCPU.
INLINE void apic_start(void) {
  map_page(IOAPIC_PAGE, IOAPIC_PAGE, DEVICE_PAGE, 2);
  map_page(LAPIC_PAGE, LAPIC_PAGE, DEVICE_PAGE, 2);
  apic_enable();
}

INLINE u32 ioapic_read(u32 index) {
  AT(u32, IOAPIC_PAGE) = index;
  return AT(u32, IOAPIC_PAGE + 0x10);
}
INLINE void ioapic_write(u32 index, u32 value) {
  AT(u32, IOAPIC_PAGE) = index;
  AT(u32, IOAPIC_PAGE + 0x10) = value;
}
INLINE void ioapic_route(unsigned pin, u32 high, u32 low) {
  ioapic_write(0x10 + 2 * pin, LVT_MASKED);
  ioapic_write(0x11 + 2 * pin, high);
  ioapic_write(0x10 + 2 * pin, low);
}
INLINE u64 hpet_read(u32 reg) { return AT(u64, HPET_PAGE + reg); }
INLINE void hpet_write(u32 reg, u64 value) { AT(u64, HPET_PAGE + reg) = value; }
enum { HPET_CONFIG = 0x10, HPET_STATUS = 0x20, HPET_COUNTER = 0xf0, HPET_TIMERS = 0x100 };

// Ticks of the TSC a second, and of the APIC timer before its divider: CPUID 15h and 16h.
INLINE u64 apic_hz(void) {
  u32 r[4];
  cpuid(0x15, 0, r);
  return r[2];
}
INLINE u64 tsc_hz(void) {
  u32 r[4];
  cpuid(0x15, 0, r);
  if (r[0] && r[1]) return (u64)r[2] * r[1] / r[0];
  cpuid(0x16, 0, r);
  return (u64)(r[0] & 0xffff) * 1000000;
}
INLINE void wait_us(u64 us) {
  for (const u64 end = rdtsc() + tsc_hz() / 1000000 * us; rdtsc() < end;) pause();
}
// Gives what is pending a chance to be delivered.
INLINE void open_window(void) {
  sti();
  for (int i = 0; i < 100; ++i) pause();
  cli();
}
// True once *counter has come to `wanted`; false when it took more than ten seconds.
INLINE int await(volatile u64* counter, u64 wanted) {
  const u64 end = rdtsc() + 10 * tsc_hz();
  while (*counter < wanted)  // ticks that a busy host was late with come one after the other
    if (rdtsc() > end) return 0;
    else pause();
  return 1;
}
