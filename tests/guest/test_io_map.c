/* The I/O permission map: each port's bit, accesses of several bytes, the word that is read whatever
 * the size, and the limit of the TSS (SDM vol. 1, 19.5).
 */
#include "guest.h"

static u8 big_tss[0x68 + 0xa8] __attribute__((aligned(256)));

USER static u64 in1(u64 port) { u8 v; asm volatile("inb %%dx,%0" : "=a"(v) : "d"(port)); return v; }
USER static u64 in2(u64 port) { u16 v; asm volatile("inw %%dx,%0" : "=a"(v) : "d"(port)); return v; }
USER static u64 in4(u64 port) { u32 v; asm volatile("inl %%dx,%0" : "=a"(v) : "d"(port)); return v; }
USER static u64 out1(u64 port) { asm volatile("outb %%al,%%dx" ::"a"(0), "d"(port)); return 0; }
USER_DATA static u8 byte;
USER static u64 ins1(u64 port) {
  u8* to = &byte;
  asm volatile("insb" : "+D"(to) : "d"(port) : "memory");
  return byte;
}

static void load(unsigned limit) {
  const u64 base = (u64)big_tss;
  gdt[0][SEL_TSS / 8] = limit | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
  gdt[0][SEL_TSS / 8 + 1] = base >> 32;
  asm volatile("ltr %w0" ::"r"(SEL_TSS));
}
static void permit(unsigned port, int yes) {
  u8* b = &big_tss[0x68 + port / 8];
  *b = (u8)(yes ? *b & ~(1u << port % 8) : *b | 1u << port % 8);
}
static void expect(u64 (*access)(u64), u64 port, int allowed) {
  const struct Trap t = try_user(access, port);
  CHECK_EQ(t.vector, allowed ? VEC_USER_END : VEC_GP);
  if (!allowed) CHECK_EQ(t.error, 0);
}

void test(void) {
  const u64* old = &gdt[0][SEL_TSS / 8];
  const u64 from = (old[0] >> 16 & 0xffffff) | (old[0] >> 56) << 24 | old[1] << 32;
  for (unsigned n = 0; n < 0x66; ++n) big_tss[n] = AT(u8, from + n);
  AT(u16, big_tss + 0x66) = 0x68;
  for (unsigned n = 0x68; n < sizeof big_tss; ++n) big_tss[n] = 0xff;
  load(sizeof big_tss - 1);
  enum { PORT = LATCH_DONE };
  expect(in1, PORT, 0);
  for (unsigned n = 0; n < 8; ++n) {  // bits of two bytes of the map
    for (unsigned k = 0; k < 16; ++k) permit(PORT + k, k == n || k == n + 1);
    expect(in1, PORT + n, 1);
    expect(out1, PORT + n, 1);
    expect(ins1, PORT + n, 1);
    expect(in2, PORT + n, 1);
    expect(in2, PORT + n + 1, 0);
    expect(in4, PORT + n, 0);
    expect(in1, PORT + n + 2, 0);
    permit(PORT + n + 2, 1), permit(PORT + n + 3, 1);
    expect(in4, PORT + n, 1);
  }
  for (unsigned k = 0; k < 16; ++k) permit(PORT + k, 1);
  load(0x68 + PORT / 8 + 1);  // the last byte is the second of the word
  expect(in1, PORT + 7, 1);
  expect(in1, PORT + 8, 0);
  load(0x68 + PORT / 8);
  expect(in1, PORT, 0);
  load(0x67);
  expect(in1, PORT, 0);
  inb(PORT);  // CPL 0 needs none
}
