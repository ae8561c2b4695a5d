/* LAR, LSL, VERR and VERW over every type of descriptor, present or not, at both privilege levels and
 * with every RPL; loads of DS and SS and far jumps with the same descriptors: which is let in, and
 * with which exception it is refused (SDM vol. 3, 5.5 to 5.8, 5.10; vol. 2, LAR, LSL, VERR, MOV).
 */
#include "guest.h"

enum { AT_ENTRY = SEL_FREE / 8, SEGMENT = 16, CODE = 8, CONFORMING = 4, BIT1 = 2, PRESENT = 0x80 };
static u32 access_byte;  // as in the descriptor: P, DPL, S, type

static unsigned dpl(void) { return access_byte >> 5 & 3; }
static int is_segment(void) { return access_byte & SEGMENT; }
static int is_code(void) { return is_segment() && access_byte & CODE; }
static int conforming(void) { return is_code() && access_byte & CONFORMING; }
static int readable(void) { return is_segment() && (!is_code() || access_byte & BIT1); }
static int writable(void) { return is_segment() && !is_code() && access_byte & BIT1; }
static int level_ok(unsigned cpl, unsigned rpl) { return cpl <= dpl() && rpl <= dpl(); }

static void describe(u32 byte) {
  access_byte = byte;
  // limit 12345h pages; 64-bit when it is code
  gdt[0][AT_ENTRY] = 0x2345 | (u64)byte << 40 | 0x81ull << 48 | ((byte & 0x18) == 0x18 ? 0x20ull << 48 : 0);
  gdt[0][AT_ENTRY + 1] = 0;
}

// ---- the instructions that only look ---------------------------------------------------------------
struct Looks { u64 lar, lsl, ok; };  // ok: LAR, LSL, VERR, VERW
INLINE struct Looks look(u64 selector) {
  struct Looks l = {0x1111222233334444, 0x1111222233334444, 0};
  u8 a, b, c, d;
  asm volatile("lar %k6,%k0; setz %2; lsl %k6,%k1; setz %3; verr %w6; setz %4; verw %w6; setz %5"
               : "+r"(l.lar), "+r"(l.lsl), "=&q"(a), "=&q"(b), "=&q"(c), "=&q"(d)
               : "r"(selector) : "cc");
  l.ok = a | b << 1 | c << 2 | d << 3;
  return l;
}

static USER_DATA struct Looks user_looks;
USER static u64 user_look(u64 selector) {
  user_looks = look(selector);
  return 0;
}

static u64 wanted(unsigned cpl, unsigned rpl) {
  const unsigned type = access_byte & 15;
  const int seen = conforming() || level_ok(cpl, rpl);
  // In IA-32e mode: LDT and both TSS have a limit; call gates have rights only.
  const int has_limit = is_segment() || type == 2 || type == 9 || type == 11;
  const int has_rights = has_limit || type == 12;
  return (u64)(seen && has_rights) | (u64)(seen && has_limit) << 1 | (u64)(seen && readable()) << 2 |
         (u64)(level_ok(cpl, rpl) && writable()) << 3;
}

static void compare_looks(struct Looks l, unsigned cpl, unsigned rpl) {
  const u64 raw = gdt[0][AT_ENTRY], ok = wanted(cpl, rpl);
  CHECK_EQ(l.ok, ok);
  CHECK_EQ(l.lar, ok & 1 ? raw >> 32 & 0xffff00 : 0x1111222233334444);
  CHECK_EQ(l.lsl, ok & 2 ? 0x12345fff : 0x1111222233334444);
}

static void looks(void) {
  for (u32 byte = 0; byte < 256; ++byte) {
    describe(byte);
    for (unsigned rpl = 0; rpl < 4; ++rpl) {
      compare_looks(look(SEL_FREE | rpl), 0, rpl);
      if (byte & 0x10 || (byte & 0xf) >= 9) {
        CHECK_EQ(try_user(user_look, SEL_FREE | rpl).vector, VEC_USER_END);
        compare_looks(user_looks, 3, rpl);
      }
    }
  }
  for (u64 null = 0; null < 4; ++null) CHECK_EQ(look(null).ok, 0);
  CHECK_EQ(look(GDT_ENTRIES * 8).ok, 0);  // beyond the table
  CHECK_EQ(look(0x44).ok, 0);             // no LDT
}

// ---- loads -------------------------------------------------------------------------------------------
static void load_ds(u64 selector) { asm volatile("mov %w0,%%ds" ::"r"(selector)); }
static void load_ss(u64 selector) { asm volatile("mov %w0,%%ss" ::"r"(selector)); }
USER static u64 user_ds(u64 selector) {
  asm volatile("mov %w0,%%ds" ::"r"(selector));
  return 0;
}

static void expect(struct Trap t, u64 vector, u64 no_trap) {
  CHECK_EQ(t.vector, vector ? vector : no_trap);
  if (vector) CHECK_EQ(t.error, SEL_FREE);
}

static void loads(void) {
  for (u32 byte = 0; byte < 256; ++byte)
    for (unsigned rpl = 0; rpl < 4; rpl += 3) {
      describe(byte);
      const u64 present = byte & PRESENT;
      u64 vector = !readable() || !(conforming() || level_ok(0, rpl)) ? VEC_GP : present ? 0 : VEC_NP;
      expect(try_call(load_ds, SEL_FREE | rpl), vector, NO_TRAP);
      if (!vector) CHECK_EQ(gdt[0][AT_ENTRY] >> 40 & 1, 1);
      else CHECK_EQ(gdt[0][AT_ENTRY] >> 40 & 0xff, byte);
      describe(byte);
      vector = !readable() || !(conforming() || level_ok(3, rpl)) ? VEC_GP : present ? 0 : VEC_NP;
      expect(try_user(user_ds, SEL_FREE | rpl), vector, VEC_USER_END);
      describe(byte);
      vector = !writable() || dpl() != 0 || rpl != 0 ? VEC_GP : present ? 0 : VEC_SS;
      expect(try_call(load_ss, SEL_FREE | rpl), vector, NO_TRAP);
      load_ds(SEL_DATA), load_ss(SEL_DATA);
    }
}

// ---- far jumps ---------------------------------------------------------------------------------------
static struct { u32 offset; u16 selector; } __attribute__((packed)) far;
extern u8 landed[];
static void jump(u64 unused) {
  (void)unused;
  asm volatile("ljmp *%0\n .global landed\n landed:" ::"m"(far) : "memory");
}
static void jumps(void) {
  far.offset = (u32)(u64)landed;
  for (u32 byte = 0; byte < 256; ++byte) {
    if (!(byte & SEGMENT) && (byte & 15) == 12) continue;  // gates lead elsewhere
    for (unsigned rpl = 0; rpl < 4; rpl += 3) {
      describe(byte);
      far.selector = (u16)(SEL_FREE | rpl);
      const int privilege = conforming() ? dpl() == 0 : dpl() == 0 && rpl == 0;
      expect(try_call(jump, 0), !is_code() || !privilege ? VEC_GP : byte & PRESENT ? 0 : VEC_NP, NO_TRAP);
    }
  }
  far.selector = 0;
  CHECK_EQ(try_call(jump, 0).error, 0);
  far.selector = GDT_ENTRIES * 8;
  CHECK_EQ(try_call(jump, 0).error, GDT_ENTRIES * 8);
}

void test(void) {
  looks();
  loads();
  jumps();
}
