#pragma once
// The system calls of the programs whose user code asks the kernel to change memory under it, and probes:
// accesses of user code that may fault.
#include "user.h"

enum Call {
  CALL_FAIL,      // a check of user code: line, text
  CALL_VALUES,    // and what it got and wanted, told first
  CALL_SET,       // entry of a page: address, entry; INVLPG
  CALL_SET_ONLY,  // the same without INVLPG
  CALL_GET,       // entry of a page: address
  CALL_INVLPG,    // address
  CALL_FLUSH,     // how (enum Flush), address
  CALL_PEEK,      // physical address
  CALL_POKE,      // physical address, value
  CALL_FAULTS,    // page faults of this run that were not a probe's
  CALL_OTHER      // from here on the program's own
};
enum Flush { FLUSH_INVLPG, FLUSH_CR3, FLUSH_PGE, FLUSH_PCID_0, FLUSH_PCID_1, FLUSH_PCID_2, FLUSH_PCID_3, FLUSHES };

// What the program does about other calls and faults. A fault returns 0: unexpected.
typedef u64 CallHandler(u64 number, u64 a, u64 b);
typedef int FaultHandler(struct User* u);
// Runs user code to its end and returns its rax.
u64 serve(struct User* u, CallHandler* call, FaultHandler* fault);
u64 serve_user(u64 (*fn)(u64), u64 arg, CallHandler* call, FaultHandler* fault);
void set_page(u64 va, u64 entry);  // CALL_SET
void flush(enum Flush how, u64 va);
extern u64 fault_count;

// User code. What they read is at *value. 0, or PROBE_FAULT with the error code of #PF; and PROBE_SECOND when it
// was the second page of an access across two.
enum { PROBE_FAULT = 0x100, PROBE_SECOND = 0x200 };
u64 probe_read(u64 at, u64* value);
u64 probe_write(u64 at, u64 value);
u64 probe_run(u64 at);  // eax of `mov $n, %eax; ret` there

INLINE void user_check(int line, const char* what, u64 got, u64 wanted) {
  if (got == wanted) return;
  sys(CALL_VALUES, got, wanted);
  sys(CALL_FAIL, (u64)line, (u64)what);
}
#define USER_EQ(name, got, wanted) user_check(__LINE__, name, (u64)(got), (u64)(wanted))

// `mov $value, %eax; ret` at a physical address.
INLINE void put_function(u64 at, u32 value) {
  AT(u8, at) = 0xb8;
  AT(u32, at + 1) = value;
  AT(u8, at + 5) = 0xc3;
}
