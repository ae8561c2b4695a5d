#pragma once
// The runtime of guest programs: what a program sees. A program defines test(); it ends with status
// 0 when test() returns and with 1 at the first CHECK that fails. The machine is tests/engine's.
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t i64;

void test(void);

// ---- selectors: Linux', in the order that SYSCALL, SYSRET and SYSEXIT want ------------------------
enum {
  SEL_CODE32 = 0x08, SEL_CODE64 = 0x10, SEL_DATA = 0x18, SEL_UCODE32 = 0x20 | 3,
  SEL_UDATA = 0x28 | 3, SEL_UCODE64 = 0x30 | 3, SEL_TSS = 0x40, SEL_FREE = 0x50
};
enum { GDT_ENTRIES = 32 };
extern u64 gdt[][GDT_ENTRIES];  // one a CPU; entries from SEL_FREE / 8 on are the test's

// ---- traps ---------------------------------------------------------------------------------------
enum {
  VEC_DE = 0, VEC_DB = 1, VEC_NMI = 2, VEC_BP = 3, VEC_OF = 4, VEC_BR = 5, VEC_UD = 6, VEC_NM = 7,
  VEC_DF = 8, VEC_TS = 10, VEC_NP = 11, VEC_SS = 12, VEC_GP = 13, VEC_PF = 14, VEC_MF = 16,
  VEC_AC = 17, VEC_XM = 19, VEC_USER_END = 0x80, NO_TRAP = 0x1000
};
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };

struct Frame {
  u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
  u64 vector, error, rip, cs, rflags, rsp, ss;
};
struct Trap {
  u64 vector;  // NO_TRAP: none
  u64 error, rip, cs, rflags, rsp, cr2, rax, rcx, rsi, rdi, ss;
};
// Calls fn(arg) and returns what trap ended it. Nests not.
struct Trap try_call(void (*fn)(u64), u64 arg);
// The same at CPL 3 on the user stack; fn is USER. A normal end is VEC_USER_END with fn's rax.
struct Trap try_user(u64 (*fn)(u64), u64 arg);
// Takes a vector away from try_*: the handler returns to where the trap came from.
void set_handler(unsigned vector, void (*handler)(struct Frame*));
void set_gate(unsigned vector, void* entry, unsigned ist, unsigned dpl);
u8* ist_top(unsigned ist);  // 1..7 of this CPU
void* trap_stub(unsigned vector);

#define USER __attribute__((section(".user.text"), noinline, optimize("no-jump-tables")))
#define USER_DATA __attribute__((section(".user.data")))
#define NOINLINE __attribute__((noinline))

// ---- output and checks -----------------------------------------------------------------------------
void put(const char* text);
void put_hex(u64 value);
_Noreturn void finish(unsigned status);
_Noreturn void failed(const char* file, int line, const char* what, u64 got, u64 wanted);
#define CHECK(c) \
  do { if (!(c)) failed(__FILE__, __LINE__, #c, 0, 0); } while (0)
#define CHECK_EQ(got, wanted)                                                      \
  do {                                                                             \
    const u64 got_ = (u64)(got), wanted_ = (u64)(wanted);                          \
    if (got_ != wanted_) failed(__FILE__, __LINE__, #got, got_, wanted_);     \
  } while (0)

// ---- paging ----------------------------------------------------------------------------------------
#define PTE_P ((u64)(1))
#define PTE_W ((u64)(2))
#define PTE_U ((u64)(4))
#define PTE_A ((u64)(32))
#define PTE_D ((u64)(64))
#define PTE_PS ((u64)(128))
#define PTE_G ((u64)(256))
#define PTE_NX (1ull << 63)
#define FREE_VA 0x10000000000ull  // 1 TiB: nothing is mapped there
// Maps a page of 4 KiB (level 1), 2 MiB (2) or 1 GiB (3). Upper entries allow everything.
void map_page(u64 va, u64 pa, u64 flags, unsigned level);
// The entry of `level` (1..4) that translates va; 0 when the walk ends above it.
volatile u64* pte_of(u64 va, unsigned level);
u64 free_page(void);  // physical (= linear) address of a zeroed page

// ---- CPUs ------------------------------------------------------------------------------------------
unsigned this_cpu(void);
unsigned cpu_count(void);
void start_ap(unsigned cpu, void (*fn)(void));  // returns when it runs
void send_interrupt(unsigned cpu, unsigned vector);
void send_nmi(unsigned cpu);

// ---- instructions ----------------------------------------------------------------------------------
#define PORT_PRINT 0xe9
#define PORT_EVENT 0xf0
#define PORT_END 0xf4
#define PORT_NESTED 0xf8
enum { N_LOOK, N_REMOVE, N_WRITE_PROTECT, N_CLEAR_ACCESSED, N_CLEAR_DIRTY, N_PROMOTE, N_INVALIDATE };
enum { N_MAPPED = 1, N_WRITABLE = 2, N_ACCESSED = 4, N_DIRTY = 8, N_LARGE = 16, N_PASSED = 32,
       N_EMULATED = 64, N_PESTERED = 128 };
#define LATCH_DONE 0x500
#define LATCH_EXIT 0x510
#define MMIO_DONE 0xf0000000ull
#define MMIO_EXIT 0xf0001000ull

#define INLINE static inline __attribute__((always_inline, unused))
INLINE void outb(u16 p, u8 v) { asm volatile("outb %0,%1" ::"a"(v), "Nd"(p)); }
INLINE void outw(u16 p, u16 v) { asm volatile("outw %0,%1" ::"a"(v), "Nd"(p)); }
INLINE void outl(u16 p, u32 v) { asm volatile("outl %0,%1" ::"a"(v), "Nd"(p)); }
INLINE u8 inb(u16 p) { u8 v; asm volatile("inb %1,%0" : "=a"(v) : "Nd"(p)); return v; }
INLINE u16 inw(u16 p) { u16 v; asm volatile("inw %1,%0" : "=a"(v) : "Nd"(p)); return v; }
INLINE u32 inl(u16 p) { u32 v; asm volatile("inl %1,%0" : "=a"(v) : "Nd"(p)); return v; }
#define MAKE_CR(n)                                                                             \
  INLINE u64 read_cr##n(void) { u64 v; asm volatile("mov %%cr" #n ",%0" : "=r"(v)::"memory"); return v; } \
  INLINE void write_cr##n(u64 v) { asm volatile("mov %0,%%cr" #n ::"r"(v) : "memory"); }
MAKE_CR(0) MAKE_CR(2) MAKE_CR(3) MAKE_CR(4) MAKE_CR(8)
INLINE u64 rdmsr(u32 n) {
  u32 a, d;
  asm volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(n));
  return (u64)d << 32 | a;
}
INLINE void wrmsr(u32 n, u64 v) {
  asm volatile("wrmsr" ::"a"((u32)(v)), "d"((u32)((v) >> 32)), "c"(n) : "memory");
}
INLINE u64 rdtsc(void) {
  u32 a, d;
  asm volatile("rdtsc" : "=a"(a), "=d"(d));
  return (u64)d << 32 | a;
}
INLINE void invlpg(u64 va) { asm volatile("invlpg (%0)" ::"r"(va) : "memory"); }
INLINE void invpcid(u64 type, u64 pcid, u64 va) {
  const u64 d[2] = {pcid, va};
  asm volatile("invpcid (%0),%1" ::"r"(d), "r"(type) : "memory");
}
INLINE void cpuid(u32 leaf, u32 sub, u32 out[4]) {
  asm volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
               : "a"(leaf), "c"(sub));
}
INLINE u64 rflags(void) { u64 v; asm volatile("pushfq; pop %0" : "=r"(v)::"memory"); return v; }
INLINE void set_rflags(u64 v) { asm volatile("push %0; popfq" ::"r"(v) : "memory", "cc"); }
INLINE void cli(void) { asm volatile("cli" ::: "memory"); }
INLINE void sti(void) { asm volatile("sti" ::: "memory"); }
INLINE void pause(void) { asm volatile("pause" ::: "memory"); }
// Does something to the nested tables' entry of a guest-physical page; how it is afterwards (N_MAPPED ...).
INLINE u32 nested(u64 pa, u32 what) { outl(PORT_NESTED, (u32)(pa >> 12) << 4 | what); return inl(PORT_NESTED); }
// Until no other CPU can use what the tables had before.
INLINE void nested_wait(void) { while (!(inl(PORT_NESTED) & N_PASSED)) pause(); }
#define AT(type, address) (*(volatile type*)(address))

#define MSR_EFER ((u64)(0xc0000080))
#define MSR_STAR ((u64)(0xc0000080 + 1))
#define MSR_LSTAR ((u64)(0xc0000080 + 2))
#define MSR_CSTAR ((u64)(0xc0000080 + 3))
#define MSR_SFMASK ((u64)(0xc0000080 + 4))
#define MSR_FS_BASE ((u64)(0xc0000100))
#define MSR_GS_BASE ((u64)(0xc0000100 + 1))
#define MSR_KERNEL_GS_BASE ((u64)(0xc0000100 + 2))
#define MSR_TSC_AUX ((u64)(0xc0000100 + 3))
#define MSR_SYSENTER_CS ((u64)(0x174))
#define MSR_SYSENTER_ESP ((u64)(0x174 + 1))
#define MSR_SYSENTER_EIP ((u64)(0x174 + 2))
#define MSR_TSC ((u64)(0x10))
#define MSR_TSC_ADJUST ((u64)(0x3b))
#define CR0_TS ((u64)(8))
#define CR0_EM ((u64)(4))
#define CR0_NE ((u64)(32))
#define CR0_WP ((u64)(1 << 16))
#define CR0_AM ((u64)(1 << 18))
#define CR4_PGE ((u64)(1 << 7))
#define CR4_OSFXSR ((u64)(1 << 9))
#define CR4_OSXMMEXCPT ((u64)(1 << 10))
#define CR4_UMIP ((u64)(1 << 11))
#define CR4_FSGSBASE ((u64)(1 << 16))
#define CR4_PCIDE ((u64)(1 << 17))
#define CR4_OSXSAVE ((u64)(1 << 18))
#define CR4_SMEP ((u64)(1 << 20))
#define CR4_SMAP ((u64)(1 << 21))
#define CR4_TSD ((u64)(4))
#define FLAG_IF ((u64)(1 << 9))
#define FLAG_AC ((u64)(1 << 18))
#define FLAG_TF ((u64)(1 << 8))
