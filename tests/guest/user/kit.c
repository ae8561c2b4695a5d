// The kernel of the programs in this folder (user.h).
#include "user.h"

enum { CPUS = 4 };
struct Cpu {  // offsets known to enter.S
  u64 kernel_rsp, user_rsp, frame_end;
  struct User* user;
};
static struct Cpu cpus[CPUS];

void enter_user_mode(struct User* u, u64* kernel_rsp);
void user_syscall_entry(void);
void user_left(void);
void user_exit(void);
extern u8* const user_top;

static void on_trap(struct Frame* f) {
  if (!(f->cs & 3)) {
    put("trap in the kernel: vector, error, rip, cr2: ");
    const u64 what[] = {f->vector, f->error, f->rip, read_cr2()};
    for (unsigned n = 0; n < 4; ++n) put_hex(what[n]), put(n < 3 ? " " : "\n");
    finish(98);
  }
  struct Cpu* c = &cpus[this_cpu()];
  struct User* u = c->user;
  *(struct Frame*)u = *f;
  u->cr2 = read_cr2();
  if (f->vector == VEC_DB) {
    asm volatile("mov %%dr6,%0; mov %1,%%dr6" : "=&r"(u->dr6) : "r"(0ull));
    // breakpoints are the user's: none in the kernel while it looks
  }
  f->rip = (u64)user_left;
  f->rsp = c->kernel_rsp;
  f->cs = SEL_CODE64;
  f->ss = SEL_DATA;
  f->rflags = 2;
}

// Control registers as common kernels have them.
static void set_controls(void) {
  u32 r[4];
  write_cr0(read_cr0() | CR0_AM);
  write_cr4(read_cr4() | CR4_FSGSBASE);
  cpuid(1, 0, r);
  if (!(r[2] >> 26 & 1)) return;
  write_cr4(read_cr4() | CR4_OSXSAVE);
  cpuid(0xd, 0, r);
  asm volatile("xsetbv" ::"a"(r[0] & 0xe7), "d"(0), "c"(0));
}

void user_init(void) {
  const unsigned cpu = this_cpu();
  set_controls();
  for (unsigned v = 0; v < 256; ++v) set_handler(v, on_trap);
  set_gate(VEC_NMI, trap_stub(VEC_NMI), 1, 0);
  wrmsr(MSR_STAR, (u64)SEL_CODE64 << 32 | (u64)SEL_UCODE32 << 48);
  wrmsr(MSR_LSTAR, (u64)user_syscall_entry);
  wrmsr(MSR_SFMASK, FLAG_IF | FLAG_TF | FLAG_AC | 0x4400);  // and DF, NT
  wrmsr(MSR_KERNEL_GS_BASE, (u64)&cpus[cpu]);
}

struct User user_begin(u64 (*fn)(u64), u64 arg) {
  struct User u = {.rip = (u64)fn, .rdi = arg, .cs = SEL_UCODE64, .ss = SEL_UDATA, .rflags = 0x202};
  u64* const top = (u64*)(user_top - this_cpu() * 4096) - 1;
  asm volatile("stac" ::: "cc");
  *top = (u64)user_exit;
  asm volatile("clac" ::: "cc");
  u.rsp = (u64)top;
  return u;
}

void run_user(struct User* u) {
  struct Cpu* c = &cpus[this_cpu()];
  cli();
  c->user = u;
  c->frame_end = (u64)&u->cr2;
  enter_user_mode(u, &c->kernel_rsp);
  if (u->vector != VEC_UD || u->rip != (u64)user_exit) return;
  u->vector = VEC_USER_END;
  u->rflags &= ~(u64)(1 << 16);  // RF
}

struct User call_user(u64 (*fn)(u64), u64 arg) {
  struct User u = user_begin(fn, arg);
  run_user(&u);
  return u;
}

void show_user(const char* what, const struct User* u) {
  put(what);
  const u64 values[] = {u->vector, u->error, u->rip, u->cr2, u->rflags, u->rsp, u->rax};
  static const char* const names[] = {" vector ", " error ", " rip ", " cr2 ", " flags ", " rsp ", " rax "};
  for (unsigned n = 0; n < 7; ++n) put(names[n]), put_hex(values[n]);
  put("\n");
}

_Noreturn void failed_case(const char* file, int line, const char* name, const char* what, u64 got, u64 wanted) {
  put("case ");
  put(name);
  put(": ");
  failed(file, line, what, got, wanted);
}

// ---- memory and address spaces ---------------------------------------------------------------------
enum { FRAMES = 0x1000000, FRAMES_END = 0x4000000 };
static volatile u64 next_frame = FRAMES;

u64 frames_left(void) { return (FRAMES_END - next_frame) >> 12; }
u64 frame(void) {
  const u64 at = __atomic_fetch_add(&next_frame, 4096, __ATOMIC_RELAXED);
  if (at >= FRAMES_END) failed("kit.c", __LINE__, "frames", at, FRAMES_END);
  u64 n = 512;
  u64* to = (u64*)at;
  asm volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(0) : "memory");
  return at;
}

u64 new_space(void) {
  const u64 pml4 = frame();
  AT(u64, pml4) = AT(u64, read_cr3() & ~0xfffull);
  return pml4;
}

volatile u64* space_pte(u64 pml4, u64 va, unsigned level) {
  u64 table = pml4 & 0xffffffffff000;
  for (unsigned l = 4; l > level; --l) {
    volatile u64* e = &AT(u64, table + 8 * (va >> (12 + 9 * (l - 1)) & 511));
    if (!(*e & PTE_P)) *e = frame() | PTE_URW;
    table = *e & 0xffffffffff000;
  }
  return &AT(u64, table + 8 * (va >> (12 + 9 * (level - 1)) & 511));
}

void split_user_code(void) {
  volatile u64* pde = pte_of(0x200000, 2);
  const u64 table = frame();
  for (u64 n = 0; n < 512; ++n) AT(u64, table + 8 * n) = (0x200000 + n * 4096) | PTE_URW;
  *pde = table | PTE_URW;
  write_cr3(read_cr3());
}
