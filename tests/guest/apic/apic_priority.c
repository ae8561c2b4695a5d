/* IRR, ISR, TPR and PPR: what is delivered, in which order, and what EOI does; CR8 is the high half of
 * the TPR (SDM vol. 3, 11.8).
 */
#include "apic.h"

static volatile u64 order[16], count;
static volatile int nest;
static void on_interrupt(struct Frame* f) {
  order[count++ & 15] = f->vector;
  CHECK_EQ(apic_bit(APIC_ISR, (unsigned)f->vector), 1);
  CHECK_EQ(apic_bit(APIC_IRR, (unsigned)f->vector), 0);
  CHECK_EQ(apic_read(APIC_PPR), f->vector & 0xf0);
  if (nest) {
    nest = 0;
    apic_send(apic_id(), f->vector | 1);  // same class: waits
    apic_send(apic_id(), 0x70);           // higher: comes at once
    const u64 before = count;
    open_window();
    CHECK_EQ(count, before + 1);
    CHECK_EQ(order[before], 0x70);
  }
  apic_eoi();
}

void test(void) {
  cli();
  apic_start();
  static const u8 vectors[] = {0x40, 0x41, 0x50, 0x51, 0x60, 0x70};
  for (unsigned i = 0; i < sizeof vectors; ++i) set_handler(vectors[i], on_interrupt);

  apic_send(apic_id(), 0x40);
  apic_send(apic_id(), 0x60);
  apic_send(apic_id(), 0x50);
  apic_send(apic_id(), 0x50);  // once more is the same as once
  CHECK(apic_bit(APIC_IRR, 0x40) && apic_bit(APIC_IRR, 0x50) && apic_bit(APIC_IRR, 0x60));
  CHECK_EQ(apic_bit(APIC_TMR, 0x50), 0);
  open_window();
  CHECK_EQ(count, 3);
  CHECK_EQ(order[0] << 16 | order[1] << 8 | order[2], 0x605040);

  apic_write(APIC_TPR, 0x5f);
  CHECK_EQ(apic_read(APIC_PPR), 0x5f);
  CHECK_EQ(read_cr8(), 5);
  apic_send(apic_id(), 0x51);
  apic_send(apic_id(), 0x60);
  open_window();
  CHECK_EQ(count, 4);
  CHECK_EQ(order[3], 0x60);
  CHECK_EQ(apic_bit(APIC_IRR, 0x51), 1);
  write_cr8(4);  // the write itself lets it in
  CHECK_EQ(apic_read(APIC_TPR), 0x40);
  open_window();
  CHECK_EQ(count, 5);
  write_cr8(0);

  nest = 1;
  apic_send(apic_id(), 0x50);
  open_window();
  CHECK_EQ(count, 8);
  CHECK_EQ(order[5] << 16 | order[6] << 8 | order[7], 0x507051);
  for (unsigned i = 0; i < 8; ++i)
    CHECK_EQ(apic_read(APIC_ISR + 16 * i) | apic_read(APIC_IRR + 16 * i), 0);
  apic_eoi();  // nothing in service: harmless
  CHECK_EQ(apic_read(APIC_PPR), 0);
}
