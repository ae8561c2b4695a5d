/* Machine-check MSRs: banks that can be enabled and cleared, nothing else (SDM vol. 3, ch. 16);
 * UMIP; #AC of x87 operands; LOCK where it does not belong and instructions that are too long.
 */
#include "guest.h"

static struct { u32 number; u64 value; } access;
static void write_msr(u64 unused) { (void)unused; wrmsr(access.number, access.value); }
static void read_msr(u64 number) { rdmsr((u32)number); }
static u64 written(u32 number, u64 value) {
  access.number = number;
  access.value = value;
  return try_call(write_msr, 0).vector;
}

static void banks(void) {
  const unsigned count = rdmsr(0x179) & 0xff;
  CHECK(count > 0);
  CHECK_EQ(rdmsr(0x179) >> 8 & 1, 0);  // so there is no MCG_CTL
  CHECK_EQ(try_call(read_msr, 0x17b).vector, VEC_GP);
  CHECK_EQ(written(0x179, 0), VEC_GP);
  for (u32 bank = 0x400; bank < 0x400 + 4 * count; bank += 4) {
    CHECK_EQ(written(bank, ~0ull), NO_TRAP);
    CHECK_EQ(rdmsr(bank), ~0ull);
    CHECK_EQ(written(bank, 0), NO_TRAP);
    CHECK_EQ(rdmsr(bank), 0);
    CHECK_EQ(written(bank, 2), VEC_GP);
    for (u32 n = 1; n < 4; ++n) {
      CHECK_EQ(rdmsr(bank + n), 0);
      CHECK_EQ(written(bank + n, 0), NO_TRAP);
      CHECK_EQ(written(bank + n, 1), VEC_GP);
      CHECK_EQ(written(bank + n, ~0ull), VEC_GP);
    }
  }
}

USER static u64 user_sgdt(u64 a) { asm volatile("sgdt (%0)" ::"r"(a) : "memory"); return 0; }
USER static u64 user_sidt(u64 a) { asm volatile("sidt (%0)" ::"r"(a) : "memory"); return 0; }
USER static u64 user_sldt(u64 a) { asm volatile("sldt %w0" : "+r"(a)); return a; }
USER static u64 user_str(u64 a) { asm volatile("str %w0" : "+r"(a)); return a; }
USER static u64 user_smsw(u64 a) { asm volatile("smsw %w0" : "+r"(a)); return a; }
USER_DATA static u8 area[64] __attribute__((aligned(64)));

static void umip(void) {
  u64 (*const all[])(u64) = {user_sgdt, user_sidt, user_sldt, user_str, user_smsw};
  for (unsigned n = 0; n < 5; ++n) {
    CHECK_EQ(try_user(all[n], (u64)area).vector, VEC_USER_END);
    write_cr4(read_cr4() | CR4_UMIP);
    const struct Trap t = try_user(all[n], (u64)area);
    CHECK_EQ(t.vector, VEC_GP);
    CHECK_EQ(t.error, 0);
    write_cr4(read_cr4() & ~CR4_UMIP);
  }
}

#define WITH_AC "pushf; orl $0x40000,(%%rsp); popf;"
USER static u64 fld32(u64 a) { asm volatile(WITH_AC "flds (%0); fstp %%st(0)" ::"r"(a)); return 0; }
USER static u64 fld64(u64 a) { asm volatile(WITH_AC "fldl (%0); fstp %%st(0)" ::"r"(a)); return 0; }
USER static u64 fld80(u64 a) { asm volatile(WITH_AC "fldt (%0); fstp %%st(0)" ::"r"(a)); return 0; }
USER static u64 load16(u64 a) { asm volatile(WITH_AC "mov (%0),%%ax" ::"r"(a) : "rax"); return 0; }
USER static u64 load64(u64 a) { asm volatile(WITH_AC "mov (%0),%%rax" ::"r"(a) : "rax"); return 0; }

static void alignment(void) {
  static const struct { u64 (*load)(u64); unsigned alignment; } all[] = {
      {fld32, 4}, {fld64, 8}, {fld80, 8}, {load16, 2}, {load64, 8}};
  write_cr0(read_cr0() | CR0_AM);
  for (unsigned n = 0; n < 5; ++n)
    for (unsigned at = 0; at < 16; ++at) {
      const struct Trap t = try_user(all[n].load, (u64)area + at);
      CHECK_EQ(t.vector, at % all[n].alignment ? VEC_AC : VEC_USER_END);
      CHECK_EQ(t.vector == VEC_AC && t.error, 0);
    }
  write_cr0(read_cr0() & ~CR0_AM);
}

#define CODE(name, bytes) \
  static void name(u64 a) { asm volatile(bytes ::"D"(a) : "rax", "memory"); }
CODE(lock_register, ".byte 0xf0, 0x01, 0xc0")             // lock add %eax,%eax
CODE(lock_load, ".byte 0xf0, 0x8b, 0x07")                 // lock mov (%rdi),%eax
CODE(lock_source, ".byte 0xf0, 0x03, 0x07")               // lock add (%rdi),%eax
CODE(lock_compare, ".byte 0xf0, 0x39, 0x07")              // lock cmp %eax,(%rdi)
CODE(lock_good, ".byte 0xf0, 0x01, 0x07")                 // lock add %eax,(%rdi)
CODE(long_15, ".rept 14; .byte 0x66; .endr; nop")
CODE(long_16, ".rept 15; .byte 0x66; .endr; nop")
CODE(no_opcode, ".byte 0x0f, 0x04")
CODE(no_cr1, ".byte 0x0f, 0x20, 0xc8")
CODE(into64, ".byte 0xce")
CODE(pusha64, ".byte 0x60")

void test(void) {
  banks();
  umip();
  alignment();
  const u64 a = (u64)area;
  CHECK_EQ(try_call(lock_register, a).vector, VEC_UD);
  CHECK_EQ(try_call(lock_load, a).vector, VEC_UD);
  CHECK_EQ(try_call(lock_source, a).vector, VEC_UD);
  CHECK_EQ(try_call(lock_compare, a).vector, VEC_UD);
  CHECK_EQ(try_call(lock_good, a).vector, NO_TRAP);
  CHECK_EQ(try_call(long_15, a).vector, NO_TRAP);
  const struct Trap t = try_call(long_16, a);
  CHECK_EQ(t.vector, VEC_GP);
  CHECK_EQ(t.error, 0);
  CHECK_EQ(try_call(no_opcode, a).vector, VEC_UD);
  CHECK_EQ(try_call(no_cr1, a).vector, VEC_UD);
  CHECK_EQ(try_call(into64, a).vector, VEC_UD);
  CHECK_EQ(try_call(pusha64, a).vector, VEC_UD);
}
