// System calls of the programs that change memory under user code (service.h).
#include "service.h"

extern u8 probe_read_at[], probe_write_at[], probe_run_at[], probe_failed[];
u64 fault_count;

asm(".pushsection .user.text,\"ax\"\n"
    ".global probe_read, probe_write, probe_run, probe_read_at, probe_write_at, probe_run_at, probe_failed\n"
    "probe_read:\n"
    "  xor %eax, %eax\n"
    "probe_read_at:\n"
    "  mov (%rdi), %rcx\n"
    "  mov %rcx, (%rsi)\n"
    "probe_failed:\n"
    "  ret\n"
    "probe_write:\n"
    "  xor %eax, %eax\n"
    "probe_write_at:\n"
    "  mov %rsi, (%rdi)\n"
    "  ret\n"
    "probe_run:\n"
    "  call *%rdi\n"
    "probe_run_at:\n"
    "  ret\n"
    ".popsection");

void flush(enum Flush how, u64 va) {
  const u64 cr4 = read_cr4(), pcid = cr4 & CR4_PCIDE ? read_cr3() & 0xfff : 0;
  switch (how) {
    case FLUSH_INVLPG: invlpg(va); break;
    case FLUSH_CR3: write_cr3(read_cr3()); break;
    case FLUSH_PGE:
      write_cr4(cr4 ^ CR4_PGE);
      write_cr4(cr4);
      break;
    default: invpcid(how - FLUSH_PCID_0, how < FLUSH_PCID_2 ? pcid : 0, how == FLUSH_PCID_0 ? va : 0); break;
  }
}

void set_page(u64 va, u64 entry) {
  *space_pte(read_cr3(), va, 1) = entry;
  invlpg(va);
}

static u64 values[2];
static u64 do_call(struct User* u, CallHandler* call) {
  const u64 a = u->rdi, b = u->rsi;
  switch (u->rax) {
    case CALL_VALUES: values[0] = a, values[1] = b; return 0;
    case CALL_FAIL: failed("user code", (int)a, (const char*)b, values[0], values[1]);
    case CALL_SET: set_page(a, b); return 0;
    case CALL_SET_ONLY: *space_pte(read_cr3(), a, 1) = b; return 0;
    case CALL_GET: return *space_pte(read_cr3(), a, 1);
    case CALL_INVLPG: invlpg(a); return 0;
    case CALL_FLUSH: flush((enum Flush)a, b); return 0;
    case CALL_PEEK: return AT(u64, a);
    case CALL_POKE: AT(u64, a) = b; return 0;
    case CALL_FAULTS: return fault_count;
    default:
      if (call) return call(u->rax, a, b);
      show_user("no such call:", u);
      finish(1);
  }
}

// Whether it was a probe's; then user code goes on behind it.
static int probe_faulted(struct User* u) {
  const u64 at = u->rip;
  const int data = at == (u64)probe_read_at || at == (u64)probe_write_at;
  if (!data && !(u->error & PF_I && u->rip == u->rdi && AT(u64, u->rsp) == (u64)probe_run_at)) return 0;
  const int second = u->rdi % 4096 > 4096 - 8 && u->cr2 == (u->rdi | 4095) + 1;
  if (u->cr2 != u->rdi && !second) failed("service.c", __LINE__, "CR2 of a probe", u->cr2, u->rdi);
  u->rax = PROBE_FAULT | u->error | (second ? PROBE_SECOND : 0);
  u->rip = (u64)probe_failed;
  return 1;
}

u64 serve(struct User* u, CallHandler* call, FaultHandler* fault) {
  fault_count = 0;
  for (;;) {
    run_user(u);
    if (u->vector == VEC_SYSCALL) {
      u->rax = do_call(u, call);
      u->sysret = 1;
      continue;
    }
    u->sysret = 0;
    if (u->vector == VEC_USER_END) return u->rax;
    if (u->vector == VEC_PF && probe_faulted(u)) continue;
    if (u->vector == VEC_PF && fault) {
      ++fault_count;
      if (fault(u)) continue;
    }
    show_user("unexpected:", u);
    finish(1);
  }
}

u64 serve_user(u64 (*fn)(u64), u64 arg, CallHandler* call, FaultHandler* fault) {
  struct User u = user_begin(fn, arg);
  return serve(&u, call, fault);
}
