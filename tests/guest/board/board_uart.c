/* The four serial ports in loopback: FIFO, trigger, overrun, break, modem lines, interrupts (PC16550D).
 * @options -l com1,pty -l com2,pty -l com3,pty -l com4,pty
 */
#include "pci.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };
enum { LOOP = 0x10, DR = 1, OE = 2, BI = 0x10, THRE = 0x20, TEMT = 0x40, FIFO_ERROR = 0x80 };
enum { VECTOR = 0x54 };
static volatile u64 interrupts;
static u16 port;
static void on_port(struct Frame* f) {
  (void)f;
  ++interrupts;
  apic_eoi();
}
INLINE u8 get(unsigned reg) { return inb((u16)(port + reg)); }
INLINE void set(unsigned reg, u8 value) { outb((u16)(port + reg), value); }
// Interrupts since the last call.
static u64 came(void) {
  static u64 seen;
  open_window();
  const u64 got = interrupts - seen;
  seen = interrupts;
  return got;
}

static void divisor(void) {
  set(LCR, 0x83);
  set(0, 0x34);
  set(1, 0x12);
  CHECK_EQ(get(0) | get(1) << 8, 0x1234);
  set(0, 1);
  set(1, 0);
  set(LCR, 3);
  set(SCR, 0xa5);
  CHECK_EQ(get(SCR), 0xa5);
  CHECK_EQ(get(IER), 0);
  CHECK_EQ(get(LSR), THRE | TEMT);
}

static void fifo(void) {
  set(MCR, LOOP | 8);
  set(IIR, 0x87);  // FIFOs on and empty, trigger at 8
  CHECK_EQ(get(IIR), 0xc1);
  set(IER, 1);
  for (u8 i = 0; i < 7; ++i) set(DATA, i);
  CHECK(get(IIR) == 0xc1 || get(IIR) == 0xcc);  // below the trigger: nothing, or the time-out
  set(DATA, 7);
  CHECK_EQ(get(IIR), 0xc4);
  CHECK(came() >= 1);
  for (u8 i = 8; i < 20; ++i) set(DATA, i);  // 16 fit, the others are lost
  set(IER, 5);
  CHECK_EQ(get(IIR), 0xc6);
  const u8 status = get(LSR);
  CHECK_EQ(status & (DR | OE), DR | OE);
  CHECK_EQ(get(LSR) & OE, 0);  // once
  CHECK_EQ(get(IIR), 0xc4);
  for (u8 i = 0; i < 16; ++i) CHECK_EQ(get(DATA), i);
  CHECK_EQ(get(LSR) & DR, 0);
  CHECK_EQ(get(IIR), 0xc1);
  for (u8 i = 0; i < 5; ++i) set(DATA, i);
  set(IIR, 0x83);  // empties the receiver
  CHECK_EQ(get(LSR) & DR, 0);
  set(IIR, 0);
  CHECK_EQ(get(IIR), 1);
  set(DATA, 0x11);
  set(DATA, 0x22);  // without FIFOs the later character stays
  CHECK_EQ(get(LSR) & (DR | OE), DR | OE);
  CHECK_EQ(get(DATA), 0x22);
  CHECK_EQ(get(LSR) & DR, 0);
}

static void breaks(void) {
  set(IIR, 7);
  set(IER, 4);
  came();
  set(LCR, 0x43);
  CHECK_EQ(came(), 1);
  CHECK_EQ(get(IIR), 0xc6);
  CHECK_EQ(get(LSR) & (DR | BI | FIFO_ERROR), DR | BI | FIFO_ERROR);
  CHECK_EQ(get(LSR) & BI, 0);
  CHECK_EQ(get(DATA), 0);
  set(LCR, 3);
  CHECK_EQ(get(LSR), THRE | TEMT);
  set(IER, 0);
}

static void modem(void) {
  get(MSR);
  set(IER, 8);
  came();
  static const u8 out[] = {1, 2, 8}, in[] = {0x22, 0x11, 0x88};  // DTR, RTS, OUT2 -> DSR, CTS, DCD and deltas
  set(MCR, LOOP);
  get(MSR);
  came();
  for (unsigned i = 0; i < 3; ++i) {
    set(MCR, (u8)(LOOP | out[i]));
    CHECK_EQ(get(IIR), 0xc0);
    CHECK_EQ(get(MSR), in[i]);
    CHECK_EQ(get(MSR), in[i] & 0xf0);
    CHECK_EQ(get(IIR), 0xc1);
    set(MCR, LOOP);
    CHECK_EQ(get(MSR), in[i] & 0x0f);
  }
  set(MCR, LOOP | 4);  // the ring indicator tells of its end
  CHECK_EQ(get(MSR), 0x40);
  set(MCR, LOOP);
  CHECK_EQ(get(MSR), 0x04);
  set(IER, 0);
  set(MCR, 8);
  CHECK_EQ(get(MSR) & 0xf0, 0xb0);  // a terminal is there: CTS, DSR, DCD
}

static void transmitter(void) {
  came();
  set(IER, 2);
  CHECK_EQ(came(), 1);
  CHECK_EQ(get(IIR), 0xc2);
  CHECK_EQ(get(IIR), 0xc1);  // reading told it
  for (const char* c = "hello\n"; *c; ++c) set(DATA, (u8)*c);
  CHECK(came() >= 1);
  set(IER, 0);
}

void test(void) {
  static const struct { u16 port; u8 irq; } ports[] = {{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}};
  cli();
  apic_start();
  set_handler(VECTOR, on_port);
  for (unsigned i = 0; i < 4; ++i) {
    port = ports[i].port;
    ioapic_route(ports[i].irq, 0, VECTOR);
    divisor();
    fifo();
    breaks();
    modem();
    transmitter();
    ioapic_route(ports[i].irq, 0, LVT_MASKED);
  }
  passed();
}
