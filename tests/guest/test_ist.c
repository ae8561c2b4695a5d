/* IST stacks: the handler runs on the named one, from CPL 0 and from CPL 3, and without IST stays on
 * the stack of CPL 0; the frame is 16-byte aligned (SDM vol. 3, 6.14).
 */
#include "guest.h"

static volatile u64 frame_at, frame_rsp;
static void on_int(struct Frame* f) {
  frame_at = (u64)&f->ss + 8;
  frame_rsp = f->rsp;
}
USER static u64 user_int(u64 x) { asm volatile("int $0x60"); return x; }

void test(void) {
  set_handler(0x60, on_int);
  for (unsigned ist = 1; ist <= 7; ++ist) {
    set_gate(0x60, trap_stub(0x60), ist, 3);
    asm volatile("int $0x60" ::: "memory");
    CHECK_EQ(frame_at, (u64)ist_top(ist));
    CHECK_EQ(try_user(user_int, 7).rax, 7);
    CHECK_EQ(frame_at, (u64)ist_top(ist));
  }
  set_gate(0x60, trap_stub(0x60), 0, 3);
  u64 rsp;
  asm volatile("mov %%rsp,%%rbx; and $-16,%%rsp; sub $8,%%rsp; mov %%rsp,%0; int $0x60; mov %%rbx,%%rsp"
               : "=&r"(rsp)::"rbx", "memory");
  CHECK_EQ(frame_rsp, rsp);
  CHECK_EQ(frame_at, rsp & ~15ull);
}
