// Tables, traps, paging, other vCPUs.
#include "guest.h"

enum { MAX_CPUS = 4, STACK = 4096, POOL_PAGES = 96 };

struct Tss {
  u32 reserved0;
  u64 rsp[3], reserved1, ist[7], reserved2;
  u16 reserved3, iomap;
} __attribute__((packed));
struct Gate {
  u16 offset0, selector;
  u8 ist, type;
  u16 offset1;
  u32 offset2, reserved;
};
struct Table {
  u16 limit;
  u64 base;
} __attribute__((packed));
struct Catch {
  volatile int active;
  u64 rsp;
  struct Trap trap;
};

void rt_main(void);
void trap_entry(struct Frame* f);
void try_enter(u64* rsp_out, void (*fn)(u64), u64 arg);
void try_resume(void);
void enter_user(u64 rip, u64 rsp, u64 arg);
void user_end(void);
extern u8 trap_stubs[], ap_code[], ap_code_end[], ap_cr3[], ap_stack[], ap_entry[];

u64 gdt[MAX_CPUS][GDT_ENTRIES];
static struct Tss tss[MAX_CPUS];
static struct Gate idt[256];
static u8 ist_stacks[MAX_CPUS][7][STACK] __attribute__((aligned(16)));
static u8 trap_stacks[MAX_CPUS][STACK] __attribute__((aligned(16)));
static u8 ap_stacks[MAX_CPUS][STACK] __attribute__((aligned(16)));
static struct Catch catches[MAX_CPUS];
static void (*handlers[256])(struct Frame*);
static u8 pool[POOL_PAGES][4096] __attribute__((aligned(4096)));
static volatile u32 pool_used;
static u64* pml4;
u8* const user_top = (u8*)0x3fff00;

void* memset(void* to, int v, size_t n) {
  for (u8* p = to; n--; ++p) *(volatile u8*)p = (u8)v;
  return to;
}
void* memcpy(void* to, const void* from, size_t n) {
  void* const result = to;
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
  return result;
}

// ---- output --------------------------------------------------------------------------------------
void put(const char* text) {
  for (; *text; ++text) outb(PORT_PRINT, (u8)*text);
}
void put_hex(u64 value) {
  for (int shift = 60; shift >= 0; shift -= 4)
    if (value >> shift || shift == 0) outb(PORT_PRINT, (u8)"0123456789abcdef"[value >> shift & 15]);
}
_Noreturn void finish(unsigned status) {
  for (;;) outb(PORT_END, (u8)status);
}
_Noreturn void failed(const char* file, int line, const char* what, u64 got, u64 wanted) {
  put(file);
  put(":0x");
  put_hex((u64)line);
  put(" ");
  put(what);
  put(" = 0x");
  put_hex(got);
  put(", wanted 0x");
  put_hex(wanted);
  put("\n");
  finish(1);
}

// ---- paging --------------------------------------------------------------------------------------
u64 free_page(void) {
  const u32 n = pool_used++;
  if (n >= POOL_PAGES) failed("rt.c", __LINE__, "page pool", n, POOL_PAGES);
  memset(pool[n], 0, 4096);
  return (u64)pool[n];
}
static u64* entry_of(u64 va, unsigned level, int make) {
  u64* table = pml4;
  for (unsigned l = 4;; --l) {
    u64* e = &table[va >> (12 + 9 * (l - 1)) & 511];
    if (l == level) return e;
    if (!(*e & PTE_P)) {
      if (!make) return 0;
      *e = free_page() | PTE_P | PTE_W | PTE_U;
    } else if (*e & PTE_PS) {
      return 0;
    }
    table = (u64*)(*e & 0xffffffffff000);
  }
}
volatile u64* pte_of(u64 va, unsigned level) { return entry_of(va, level, 0); }
void map_page(u64 va, u64 pa, u64 flags, unsigned level) {
  *entry_of(va, level, 1) = pa | flags | (level > 1 ? PTE_PS : 0);
  invlpg(va);
}
static void make_page_tables(void) {
  pml4 = (u64*)free_page();
  for (u64 a = 0; a < 64 << 20; a += 2 << 20)
    *entry_of(a, 2, 1) = a | PTE_P | PTE_W | PTE_PS | (a == 2 << 20 ? PTE_U : 0);
  *entry_of(MMIO_DONE, 2, 1) = MMIO_DONE | PTE_P | PTE_W | PTE_PS | 0x18;
  write_cr3((u64)pml4);
}

// ---- traps ---------------------------------------------------------------------------------------
void* trap_stub(unsigned vector) { return trap_stubs + 16 * vector; }
void set_gate(unsigned vector, void* entry, unsigned ist, unsigned dpl) {
  const u64 a = (u64)entry;
  idt[vector] = (struct Gate){(u16)a, SEL_CODE64, (u8)ist, (u8)(0x8e | dpl << 5), (u16)(a >> 16),
                              (u32)(a >> 32), 0};
}
void set_handler(unsigned vector, void (*handler)(struct Frame*)) { handlers[vector] = handler; }
u8* ist_top(unsigned ist) { return ist_stacks[this_cpu()][ist - 1] + STACK; }

static void unexpected(const struct Frame* f) {
  put("unexpected trap 0x");
  put_hex(f->vector);
  put(" error 0x");
  put_hex(f->error);
  put(" rip 0x");
  put_hex(f->rip);
  put(" cr2 0x");
  put_hex(read_cr2());
  put("\n");
  finish(99);
}

void trap_entry(struct Frame* f) {
  if (handlers[f->vector]) {
    handlers[f->vector](f);
    return;
  }
  struct Catch* c = &catches[this_cpu()];
  if (!c->active) unexpected(f);
  c->active = 0;
  c->trap = (struct Trap){f->vector, f->error, f->rip, f->cs,  f->rflags, f->rsp,
                          read_cr2(), f->rax, f->rcx, f->rsi, f->rdi, f->ss};
  f->rip = (u64)try_resume;
  f->rsp = c->rsp;
  f->cs = SEL_CODE64;
  f->ss = SEL_DATA;
  f->rflags = 2;
}

struct Trap try_call(void (*fn)(u64), u64 arg) {
  struct Catch* c = &catches[this_cpu()];
  c->trap = (struct Trap){.vector = NO_TRAP};
  c->active = 1;
  try_enter(&c->rsp, fn, arg);
  c->active = 0;
  return c->trap;
}

struct UserCall {
  u64 (*fn)(u64);
  u64 arg;
};
static void to_user(u64 call) {
  const struct UserCall* c = (const struct UserCall*)call;
  u64* top = (u64*)(user_top - this_cpu() * 4096);
  asm volatile("stac" ::: "cc");  // the user stack, also with SMAP; #UD is impossible: model max
  *--top = (u64)user_end;
  asm volatile("clac" ::: "cc");
  enter_user((u64)c->fn, (u64)top, c->arg);
}
struct Trap try_user(u64 (*fn)(u64), u64 arg) {
  struct UserCall call = {fn, arg};
  return try_call(to_user, (u64)&call);
}

// ---- CPUs ----------------------------------------------------------------------------------------
unsigned this_cpu(void) { return inb(0xf5); }
unsigned cpu_count(void) { return inb(0xf6); }
void send_interrupt(unsigned cpu, unsigned vector) { outl(PORT_EVENT, cpu << 8 | vector); }
void send_nmi(unsigned cpu) { outl(PORT_EVENT, cpu << 8 | 1u << 16); }

static void set_up_cpu(unsigned cpu) {
  static const u64 first[8] = {0, 0x00cf9b000000ffff, 0x00af9b000000ffff, 0x00cf93000000ffff,
                               0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff, 0};
  u64* g = gdt[cpu];
  memcpy(g, first, sizeof first);
  struct Tss* t = &tss[cpu];
  t->rsp[0] = (u64)(trap_stacks[cpu] + STACK);
  for (int i = 0; i < 7; ++i) t->ist[i] = (u64)(ist_stacks[cpu][i] + STACK);
  t->iomap = sizeof *t;
  const u64 base = (u64)t;
  g[8] = (sizeof *t - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
  g[9] = base >> 32;
  const struct Table gdtr = {sizeof gdt[0] - 1, (u64)g}, idtr = {sizeof idt - 1, (u64)idt};
  asm volatile(
      "lgdt %0; lidt %1; pushq %2; lea 1f(%%rip), %%rax; push %%rax; lretq; 1:"
      "mov %3, %%ds; mov %3, %%es; mov %3, %%ss; mov %4, %%fs; mov %4, %%gs; ltr %w5" ::"m"(gdtr),
      "m"(idtr), "i"(SEL_CODE64), "r"(SEL_DATA), "r"(0), "r"(SEL_TSS)
      : "rax", "memory");
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 0x801);
  write_cr0((read_cr0() | CR0_WP | CR0_NE | 2) & ~(CR0_EM | CR0_TS | 3ull << 29));
  write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
  asm volatile("fninit");
}

static void (*volatile ap_fn)(void);
static volatile unsigned ap_running;
static void ap_main(void) {
  set_up_cpu(this_cpu());
  void (*fn)(void) = ap_fn;
  ap_running = 1;
  fn();
  for (;;) asm volatile("cli; hlt");
}
void start_ap(unsigned cpu, void (*fn)(void)) {
  u8* const low = (u8*)0x8000;
  ap_fn = fn;
  ap_running = 0;
  memcpy(low, ap_code, (size_t)(ap_code_end - ap_code));
  AT(u64, low + (ap_cr3 - ap_code)) = (u64)pml4;
  AT(u64, low + (ap_stack - ap_code)) = (u64)(ap_stacks[cpu] + STACK);
  AT(u64, low + (ap_entry - ap_code)) = (u64)ap_main;
  outl(PORT_EVENT, cpu << 8 | 8 | 1u << 17);
  while (!ap_running) pause();
}

void rt_main(void) {
  make_page_tables();
  for (unsigned v = 0; v < 256; ++v) set_gate(v, trap_stub(v), 0, v == 3 || v == 4 || v == 0x80 ? 3 : 0);
  set_up_cpu(0);
  test();
  finish(0);
}
