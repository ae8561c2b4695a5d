/* Counts message-signalled interrupts of vector 70h at RESULT; a device thread sends them until the
 * word at STOP is set. For bench/apic_bench.cpp.
 */
#include "apic.h"

enum { RESULT = 0x9000, READY = 0x9008, STOP = 0x9010 };
static void on_msi(struct Frame* f) {
  (void)f;
  apic_eoi();
  ++AT(u64, RESULT);
}

void test(void) {
  cli();
  apic_start();
  set_handler(0x70, on_msi);
  AT(u64, RESULT) = 0;
  AT(u64, READY) = 1;
  sti();
  while (!AT(u64, STOP)) pause();
  cli();
}
