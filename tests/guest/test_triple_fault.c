/* A fault with no IDT ends the machine.
 * @expect triple-fault
 */
#include "guest.h"
void test(void) {
  const struct { u16 limit; u64 base; } __attribute__((packed)) none = {0, 0};
  asm volatile("lidt %0; ud2" ::"m"(none));
}
