/* External interrupts: shadow of STI and MOV SS, HLT wake-up, CR8 priority, IF; NMI blocking until
 * IRET; interrupts at CPL 3 (SDM vol. 3, 6.8, 6.7.1).
 */
#include "guest.h"

static volatile u64 count, last_rip, nmis, depth, deepest;
static void on_interrupt(struct Frame* f) {
  ++count;
  last_rip = f->rip;
}
static void on_nmi(struct Frame* f) {
  (void)f;
  ++nmis;
  if (++depth > deepest) deepest = depth;
  if (nmis == 1) {
    send_nmi(0);  // stays pending until IRET
    for (int i = 0; i < 1000; ++i) pause();
    CHECK_EQ(nmis, 1);
  }
  --depth;
}
USER static u64 user_spin(u64 p) {
  while (!AT(u64, p)) pause();
  return 3;
}
static USER_DATA volatile u64 stop;
static void on_user(struct Frame* f) {
  CHECK_EQ(f->cs, SEL_UCODE64);
  stop = 1;
}

void test(void) {
  cli();
  set_handler(0x40, on_interrupt);
  send_interrupt(0, 0x40);
  for (int i = 0; i < 1000; ++i) pause();
  CHECK_EQ(count, 0);
  u64 after;
  // the instruction after STI runs first
  asm volatile("lea 1f(%%rip),%0; sti; nop; 1: nop; cli" : "=r"(after)::"memory");
  CHECK_EQ(count, 1);
  CHECK_EQ(last_rip, after);
  send_interrupt(0, 0x40);
  asm volatile("sti; cli" ::: "memory");  // no chance in the shadow
  CHECK_EQ(count, 1);
  asm volatile("sti; hlt; cli" ::: "memory");
  CHECK_EQ(count, 2);
  // MOV SS holds off too: the interrupt comes after the instruction behind it
  asm volatile("sti; nop; mov %%ss,%%eax; cli" ::: "rax", "memory");
  send_interrupt(0, 0x40);
  asm volatile("mov %%ss,%%ecx; lea 1f(%%rip),%0; pushfq; orl $0x200,(%%rsp); popfq; 1: nop; cli"
               : "=r"(after)::"rcx", "memory", "cc");
  CHECK_EQ(count, 3);
  CHECK_EQ(last_rip, after);  // POPF has no shadow
  // the task priority holds vectors of its class and below back
  write_cr8(4);
  CHECK_EQ(read_cr8(), 4);
  send_interrupt(0, 0x40);
  sti();
  for (int i = 0; i < 1000; ++i) pause();
  CHECK_EQ(count, 3);
  write_cr8(3);
  for (int i = 0; i < 10; ++i) pause();
  CHECK_EQ(count, 4);
  write_cr8(0);
  cli();
  set_handler(VEC_NMI, on_nmi);
  send_nmi(0);
  for (int i = 0; i < 10; ++i) pause();
  CHECK_EQ(nmis, 2);
  CHECK_EQ(deepest, 1);
  // at CPL 3, with IF = 1 there: it is pending while we are here with IF = 0
  set_handler(0x41, on_user);
  send_interrupt(0, 0x41);
  const struct Trap t = try_user(user_spin, (u64)&stop);
  CHECK_EQ(t.vector, VEC_USER_END);
  CHECK_EQ(t.rax, 3);
}
