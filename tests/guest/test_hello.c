/* The runtime itself: output, traps, CPL 3, latches by port and by memory.
 * @expect end 0
 * @output hello 2a
 */
#include "guest.h"

static void divide(u64 by) { asm volatile("xor %%edx,%%edx; mov $1,%%eax; div %0" ::"r"(by) : "rax", "rdx"); }
USER static u64 twice(u64 x) { return 2 * x; }

void test(void) {
  put("hello ");
  put_hex(42);
  put("\n");
  CHECK_EQ(try_call(divide, 1).vector, NO_TRAP);
  CHECK_EQ(try_call(divide, 0).vector, VEC_DE);
  const struct Trap t = try_user(twice, 21);
  CHECK_EQ(t.vector, VEC_USER_END);
  CHECK_EQ(t.rax, 42);
  CHECK_EQ(t.cs, SEL_UCODE64);
}
