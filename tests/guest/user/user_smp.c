/* User code on two CPUs in one address space: locked and split accesses, the order of stores, pages taken away by
 * one CPU from the other's user code with an IPI, code that the one writes for the other, filling on demand by
 * both, IPIs and NMIs that end busy loops, tasks that move from CPU to CPU.
 * @vcpus 2
 * @seconds 100
 */
#include "service.h"

#define VA FREE_VA
#define READ(at) (*(volatile u64*)(at))
enum { SHOOT = 0x41, WAKE = 0x42, CALL_LEAVE = CALL_OTHER, CALL_SHOOT, ROUNDS = 10 };

// ---- what both CPUs' kernels do ---------------------------------------------------------------------------------
static volatile u64 acknowledged, woken, nmis, waiting_faults;
static u64 lock_word;
static USER_DATA volatile u64 stop, flag;
static FaultHandler* on_fault;

static void lock(void) {
  while (__atomic_exchange_n(&lock_word, 1, __ATOMIC_ACQUIRE)) pause();
}
static void unlock(void) { __atomic_store_n(&lock_word, 0, __ATOMIC_RELEASE); }
static void shoot(u64 va) {
  const u64 before = acknowledged;
  invlpg(va);
  send_interrupt(!this_cpu(), SHOOT);
  while (acknowledged == before) pause();
}
// Runs user code until it ends or leaves, whatever else happens.
static void serve_cpu(struct User* u) {
  for (;;) {
    run_user(u);
    u->sysret = 0;
    switch (u->vector) {
      case SHOOT:
        write_cr3(read_cr3());
        ++acknowledged;
        break;
      case WAKE: flag = ++woken; break;
      case VEC_NMI: ++nmis; break;
      case VEC_USER_END: return;
      case VEC_PF:
        if (on_fault && on_fault(u)) break;
        show_user("unexpected:", u);
        finish(1);
      case VEC_SYSCALL:
        if (u->rax == CALL_LEAVE) return;
        if (u->rax == CALL_FAIL) failed("user code", (int)u->rdi, (const char*)u->rsi, this_cpu(), 0);
        if (u->rax == CALL_SHOOT) shoot(u->rdi);
        u->sysret = 1;
        break;
      default: show_user("unexpected:", u); finish(1);
    }
  }
}
static u64 run_to_end(u64 (*fn)(u64), u64 arg) {
  struct User u = user_begin(fn, arg);
  serve_cpu(&u);
  CHECK_EQ(u.vector, VEC_USER_END);
  return u.rax;
}
// What the other CPU is to run; it is done when the number has come back.
static u64 (*volatile job)(u64);
static volatile u64 job_arg, job_number, job_done, job_result;
static void other_cpu(void) {
  user_init();
  for (;;) {
    while (job_number == job_done) pause();
    job_result = run_to_end(job, job_arg);
    ++job_done;
  }
}
static void begin_other(u64 (*fn)(u64), u64 arg) { job = fn, job_arg = arg, ++job_number; }
static u64 end_other(void) {
  while (job_number != job_done) pause();
  return job_result;
}

// ---- locked accesses, and the order of stores ----------------------------------------------------------------------
enum { COUNTS = 3000, SPLITS = 200 };
#define MESSAGES 4000
static USER_DATA struct {
  u64 counter, swapped, pair[2] __attribute__((aligned(16)));
  u8 filler[24];
  volatile u64 data, filler2[7], ready;
} words __attribute__((aligned(64)));
static USER_DATA u8 lines[256] __attribute__((aligned(64)));
#define SPLIT (lines + 60)
USER static u64 count(u64 unused) {
  for (u64 n = 0; n < COUNTS; ++n) {
    u64 one = 1, low = words.pair[0], high = words.pair[1];
    asm volatile("lock incq %0; lock xadd %1,%2" : "+m"(words.counter), "+r"(one), "+m"(words.swapped)::"cc");
    u8 ok;
    do {
      asm volatile("lock cmpxchg16b %3; sete %0" : "=q"(ok), "+a"(low), "+d"(high), "+m"(words.pair[0])
                   : "b"(low + 1), "c"(high + 3) : "memory", "cc");
    } while (!ok);
    if (n < SPLITS) asm volatile("lock addq $1,(%0)" ::"r"(SPLIT) : "memory", "cc");
  }
  return unused;
}
USER static u64 send(u64 unused) {
  for (u64 n = 1; n <= MESSAGES; ++n) words.data = n, words.ready = n;
  return unused;
}
USER static u64 receive(u64 unused) {
  for (u64 seen = 0; seen < MESSAGES;) {
    seen = words.ready;
    const u64 data = words.data;
    if (data < seen) return 1;
    if (!(data & 63)) pause();
  }
  return unused;
}
static void together(void) {
  begin_other(count, 0);
  run_to_end(count, 0);
  end_other();
  CHECK_EQ(words.counter, 2 * COUNTS);
  CHECK_EQ(words.swapped, 2 * COUNTS);
  CHECK_EQ(words.pair[0], 2 * COUNTS);
  CHECK_EQ(words.pair[1], 6 * COUNTS);
  CHECK_EQ(AT(u64, SPLIT), 2 * SPLITS);
  begin_other(receive, 0);
  run_to_end(send, 0);
  CHECK_EQ(end_other(), 0);
}

// ---- pages taken away ------------------------------------------------------------------------------------------------
static volatile u64* entry;
USER static u64 write_on(u64 at) {
  u64 n = 0;
  while (!stop) {
    READ(at) = ++n;
    if (!(n & 15)) pause();
  }
  return n;
}
// Until it may write again.
static int wait_for_page(struct User* u) {
  CHECK_EQ(u->cr2, VA);
  CHECK_EQ(u->error & ~1u, PF_W | PF_U);
  ++waiting_faults;
  return 1;
}
static void is_still(u64 frame) {
  const u64 was = AT(u64, frame);
  for (int n = 0; n < 200; ++n) {
    CHECK_EQ(AT(u64, frame), was);
    if (!(n & 31)) pause();
  }
}
static void moves(u64 frame) {
  const u64 was = AT(u64, frame);
  while (AT(u64, frame) == was) pause();
}
static void pages_taken_away(void) {
  const u64 frames[3] = {frame(), frame(), frame()};
  entry = space_pte(read_cr3(), VA, 1);
  *entry = frames[0] | PTE_URW;
  on_fault = wait_for_page;
  stop = 0;
  begin_other(write_on, VA);
  for (u64 n = 0; n < ROUNDS; ++n) {
    const u64 now = frames[n % 3], next = frames[(n + 1) % 3];
    moves(now);
    *entry = next | PTE_URW;
    shoot(VA);
    is_still(now);
    moves(next);
    CHECK_EQ(*entry & 0x60, 0x60);
    *entry = next | PTE_UR;  // nobody may write
    shoot(VA);
    is_still(next);
    CHECK_EQ(*entry & 0x40, 0);
    *entry = 0;
    shoot(VA);
    is_still(next);
    const u64 faults = waiting_faults;
    while (waiting_faults == faults) pause();
    *entry = next | PTE_URW;  // not there before: nothing to invalidate
    moves(next);
  }
  stop = 1;
  end_other();
  on_fault = 0;
}

// ---- code for the other CPU ------------------------------------------------------------------------------------------
static USER_DATA volatile u64 reported, runs;
USER static u64 run_on(u64 at) {
  while (!stop) {
    reported = ((u64(*)(void))at)();
    ++runs;
    if (!(runs & 15)) pause();
  }
  return 0;
}
USER static u64 write_code(u64 at) {
  for (u32 n = 0; n < ROUNDS; ++n) {
    *(volatile u32*)(at + 1) = n;
    sys(CALL_SHOOT, at, 0);
    const u64 seen = runs;
    while (runs < seen + 2) pause();
    if (reported != n) sys(CALL_FAIL, __LINE__, (u64)"code for the other CPU");
  }
  return 0;
}
static void code_for_another(void) {
  const u64 code = frame();
  put_function(code, 0);
  *entry = code | PTE_UR;
  *space_pte(read_cr3(), VA + 0x1000, 1) = code | PTE_URW | PTE_NX;
  stop = 0;
  begin_other(run_on, VA);
  for (u32 n = 1; n < ROUNDS; ++n) {
    AT(u32, code + 1) = n;
    shoot(VA);
    const u64 seen = runs;
    while (runs < seen + 2) pause();
    CHECK_EQ(reported, n);
  }
  run_to_end(write_code, VA + 0x1000);
  stop = 1;
  end_other();
}

// ---- filled by both -------------------------------------------------------------------------------------------------------
enum { PAGES = 64 };
#define REGION (VA + (1ull << 30))
static u64 fills;
static int fill(struct User* u) {
  CHECK(u->cr2 - REGION < PAGES * 4096);
  lock();
  volatile u64* e = space_pte(read_cr3(), u->cr2, 1);
  if (!(*e & PTE_P)) {
    const u64 page = frame();
    AT(u64, page + 8) = (u->cr2 - REGION) >> 12;
    *e = page | PTE_URW;
    ++fills;
  }
  unlock();
  return 1;
}
USER static u64 touch(u64 seed) {
  u64 x = seed, wrong = 0;
  for (u64 n = 0; n < PAGES * 8; ++n) {
    const u64 page = next_random(&x) >> 40 & (PAGES - 1), at = REGION + page * 4096;
    asm volatile("lock incq (%0)" ::"r"(at) : "memory", "cc");
    wrong += READ(at + 8) != page;
  }
  return wrong;
}
static void filled_by_both(void) {
  on_fault = fill;
  begin_other(touch, 3);
  CHECK_EQ(run_to_end(touch, 4), 0);
  CHECK_EQ(end_other(), 0);
  u64 all = 0, pages = 0;
  for (u64 n = 0; n < PAGES; ++n) {
    const u64 e = *space_pte(read_cr3(), REGION + n * 4096, 1);
    if (e & PTE_P) ++pages, all += AT(u64, e & 0xffffffffff000);
  }
  CHECK_EQ(all, 2 * PAGES * 8);
  CHECK_EQ(pages, fills);
  on_fault = 0;
}

// ---- interrupts that end busy loops -----------------------------------------------------------------------------------------
USER static u64 until_flag(u64 wanted) {
  u64 n = 0;
  while (flag < wanted) ++n;
  return n;
}
USER static u64 until_stop(u64 unused) {
  while (!stop) {
    ++runs;
    pause();
  }
  return unused;
}
static void busy_loops(void) {
  for (u64 n = 1; n <= 8; ++n) {
    begin_other(until_flag, n);
    for (int k = 0; k < 50; ++k) pause();
    send_interrupt(1, WAKE);
    end_other();
    CHECK_EQ(woken, n);
  }
  for (u64 n = 9; n <= 14; ++n) {  // by memory alone
    begin_other(until_flag, n);
    for (int k = 0; k < 50; ++k) pause();
    flag = n;
    end_other();
  }
  stop = 0;
  begin_other(until_stop, 0);
  for (u64 n = 1; n <= ROUNDS; ++n) {
    const u64 seen = runs;
    while (runs == seen) pause();  // it is in user mode again: the kernel is no place for an NMI
    send_nmi(1);
    while (nmis != n) pause();
  }
  stop = 1;
  end_other();
}

// ---- tasks that move ------------------------------------------------------------------------------------------------------------
static USER_DATA u64 slices[512] __attribute__((aligned(4096)));
USER static u64 move_on(u64 turns) {
  asm volatile("fninit; fldz" ::: "memory");
  for (u64 n = 0; n < turns; ++n) {
    asm volatile("fld1; faddp");
    slices[n % 512] += n;
    READ(VA) = n;
    sys(CALL_LEAVE, n, 0);
    if (READ(VA) != n) sys(CALL_FAIL, __LINE__, (u64)"memory of a task that moves");
  }
  u64 v;
  asm volatile("fistpll %0" : "=m"(v));
  return v;
}
static struct User moving;
static u8 moving_area[512] __attribute__((aligned(16)));
static volatile u64 turn, moved;
enum { SLICES = 50 };
static void slice(u64 me) {
  while (turn != me && !moved) pause();
  if (moved) return;
  asm volatile("fxrstor64 %0" ::"m"(moving_area));
  serve_cpu(&moving);
  asm volatile("fxsave64 %0" : "=m"(moving_area));
  if (moving.vector == VEC_USER_END) moved = 1;
  moving.sysret = moving.vector == VEC_SYSCALL;
  turn = !me;
}
static void other_slices(void) {
  user_init();
  while (!moved) slice(1);
  for (;;) asm volatile("hlt");
}
static void tasks_that_move(void) {
  *entry = frame() | PTE_URW;
  stop = 0;
  begin_other(until_stop, 0);  // to answer
  shoot(VA);
  stop = 1;
  end_other();
  moving = user_begin(move_on, SLICES);
  asm volatile("fxsave64 %0" : "=m"(moving_area));
  start_ap(1, other_slices);
  while (!moved) slice(0);
  CHECK_EQ(moving.rax, SLICES);
  for (u64 n = 0; n < SLICES; ++n) CHECK_EQ(slices[n], n);
}

void test(void) {
  user_init();
  start_ap(1, other_cpu);
  together();
  pages_taken_away();
  code_for_another();
  filled_by_both();
  busy_loops();
  tasks_that_move();
}
