#pragma once
// Pieces of user code whose faulting instruction is known by a label.
#include "user.h"

struct Snippet {
  const char* name;
  u8 *start, *at, *after;
};
// In a page of its kind. `before` leaves alone all but rax, rcx, rdx, rsi; rdi is the argument.
#define SNIPPET(name, before, instruction) SNIPPET_IN("text", name, before, instruction)
// For instructions that an engine may look for in user code.
#define SNIPPET_AWAY(name, before, instruction) SNIPPET_IN("special", name, before, instruction)
#define SNIPPET_IN(section, name, before, instruction)                                            \
  asm(".pushsection .user." section ",\"ax\"\nu_" #name ":\n" before "\nu_" #name "_at:\n" instruction     \
      "\nu_" #name "_after:\nret\n.popsection");                                                    \
  extern u8 u_##name[], u_##name##_at[], u_##name##_after[]
#define SNIP(name) {#name, u_##name, u_##name##_at, u_##name##_after}

// Runs it with known registers and checks that those that no snippet touches are as before.
static inline struct User run_snippet(const struct Snippet* s, u64 arg, u64 flags) {
  struct User u = user_begin((u64(*)(u64))s->start, arg);
  u64* const r[] = {&u.r8, &u.r9, &u.r10, &u.r12, &u.r13, &u.r14, &u.r15, &u.rbx, &u.rbp};
  enum { KEPT = sizeof r / sizeof r[0] };
  for (unsigned n = 0; n < KEPT; ++n) *r[n] = 0x1122334455667700 + n;
  u.rflags |= flags;
  run_user(&u);
  for (unsigned n = 0; n < KEPT; ++n) CASE_EQ(s->name, *r[n], 0x1122334455667700 + n);
  CASE_EQ(s->name, u.cs, SEL_UCODE64);
  CASE_EQ(s->name, u.ss, SEL_UDATA);
  return u;
}
