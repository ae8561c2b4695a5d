/* Random changes of tables, memory and address space by the kernel, and random accesses by user code, compared with
 * a model: what is read, what faults how, what code does, and every accessed and dirty flag.
 * @seconds 60
 */
#include "service.h"

#define VA FREE_VA
#define BIG_VA (VA + (1ull << 30))  // all frames as one large page
#define FRAMES_AT 0x2000000ull
enum { PAGES = 64, FRAMES = 32, SPACES = 3, WORDS = 8, BATCH = 20, BATCHES = 250, FUNCTION = 0x800, A = 0x20, D = 0x40 };

// ---- what user code is told to do, and says of it -------------------------------------------------------------
enum Kind { READ, WRITE, RUN_IT, WRITE_CODE, ACROSS_READ, ACROSS_WRITE, KINDS };
struct Op {
  u64 kind, at, value, result, seen;
};
static USER_DATA struct Op ops[BATCH];
USER static u64 do_batch(u64 count) {
  for (u64 n = 0; n < count; ++n) {
    struct Op* o = &ops[n];
    if (o->kind == RUN_IT) o->seen = probe_run(o->at);
    else if (o->kind == READ || o->kind == ACROSS_READ) o->result = probe_read(o->at, &o->seen);
    else o->result = probe_write(o->at, o->value);
  }
  return count;
}

// ---- the model --------------------------------------------------------------------------------------------------
static struct {
  u64 words[WORDS + 1];  // at 0, 8, ...; and the last one of the page, for accesses across
  u32 code;
} frames[FRAMES];
static u64 spaces[SPACES], current, entries[SPACES][PAGES], big_flags[SPACES];
static int stale[SPACES];
static u64 seed;
static u64 random(u64 below) { return (next_random(&seed) >> 30) % below; }

static u64 frame_at(u64 n) { return FRAMES_AT + n * 4096; }
static u64 frame_of(u64 entry) { return ((entry & 0xffffffffff000) - FRAMES_AT) >> 12; }
static u64 code_of(u32 value) { return 0xb8 | (u64)value << 8 | 0x9090c3ull << 40; }
static volatile u64* pte(u64 space, u64 page) { return space_pte(spaces[space], VA + page * 4096, 1); }

// What an access says that does not fault; or the fault.
static u64 verdict(u64 entry, u64 error) {
  const u64 p = entry & PTE_P ? PF_P : 0;
  const int ok = p && entry & PTE_U && (!(error & PF_W) || entry & PTE_W) && (!(error & PF_I) || !(entry & PTE_NX));
  return ok ? 0 : PROBE_FAULT | PF_U | error | p;
}
static u64* entry_of(u64 at) {  // 0: the large page
  return at >= BIG_VA ? 0 : &entries[current][(at - VA) >> 12];
}
static u64 model_access(u64 at, u64 error, u64* frame) {
  u64* e = entry_of(at);
  if (!e) {
    big_flags[current] |= error & PF_W ? A | D : A;
    *frame = (at - BIG_VA) >> 12;
    return 0;
  }
  const u64 v = verdict(*e, error);
  if (!v) *e |= error & PF_W ? A | D : A;
  *frame = frame_of(*e);
  return v;
}
// An access of 4 bytes in each page. The first page may have its flags when only the second faults.
static u64 model_across(const struct Op* o, u64 error, u64* seen) {
  u64 f1, f2;
  const u64 first = model_access(o->at, error, &f1);
  if (first) return first;
  const u64 second = model_access(o->at + 4, error, &f2);
  if (second) {
    u64* e = entry_of(o->at);
    if (e) *e = (*e & ~(u64)(A | D)) | (*pte(current, (o->at - VA) >> 12) & (A | D));
    return second | PROBE_SECOND;
  }
  u64 *low = &frames[f1].words[WORDS], *high = &frames[f2].words[0];
  *seen = *low >> 32 | *high << 32;
  if (error & PF_W) {
    *low = (*low & 0xffffffff) | o->value << 32;
    *high = (*high & ~0xffffffffull) | o->value >> 32;
  }
  return 0;
}
static void check_op(const struct Op* o) {
  u64 f = 0, wanted, seen = 0;
  static const char* const names[] = {"read", "write", "run", "write code", "read across", "write across"};
  switch (o->kind) {
    case RUN_IT:
      wanted = model_access(o->at, PF_I, &f);
      CASE_EQ("run", o->seen, wanted ? wanted : frames[f].code);
      return;
    case WRITE_CODE:
      wanted = model_access(o->at, PF_W, &f);
      if (!wanted) frames[f].code = (u32)(o->value >> 8);
      break;
    case ACROSS_READ: wanted = model_across(o, 0, &seen); break;
    case ACROSS_WRITE: wanted = model_across(o, PF_W, &seen); break;
    default:
      wanted = model_access(o->at, o->kind == WRITE ? PF_W : 0, &f);
      if (wanted) break;
      u64* word = &frames[f].words[o->at % 4096 / 8];
      seen = *word;
      if (o->kind == WRITE) *word = o->value;
  }
  CASE_EQ(names[o->kind], o->result, wanted);
  if (!wanted && (o->kind == READ || o->kind == ACROSS_READ)) CASE_EQ(names[o->kind], o->seen, seen);
}

// ---- what the kernel does meanwhile --------------------------------------------------------------------------------
static void invalidate(u64 space, u64 page) {
  const int pcids = !!(read_cr4() & CR4_PCIDE);
  if (space == current) flush((enum Flush)random(FLUSHES), VA + page * 4096);
  else if (pcids && random(2)) invpcid(random(2), space + 1, VA + page * 4096);
  else stale[space] = 1;
}
static void set_entry(u64 space, u64 page, u64 value) {
  const u64 was = *pte(space, page);
  *pte(space, page) = entries[space][page] = value;
  if (was & PTE_P || random(4) == 0) invalidate(space, page);  // what is not there nobody keeps
}
static void change(void) {
  const u64 space = random(8) ? current : random(SPACES), page = random(random(2) ? PAGES : 4), f = random(FRAMES), what = random(10);
  const u64 e = entries[space][page];
  if (what < 4) {
    set_entry(space, page, frame_at(f) | PTE_UR | (random(3) ? PTE_W : 0) | (random(3) ? 0 : PTE_NX) | (random(4) ? 0 : A));
  } else if (what == 4) {
    set_entry(space, page, 0);
  } else if (what == 5) {
    set_entry(space, page, e & ~(random(2) ? PTE_U : PTE_P));
  } else if (what == 6) {
    set_entry(space, page, e & ~(u64)(random(2) ? D : A | D));
  } else if (what == 7) {
    set_entry(space, page, e ^ (random(2) ? PTE_W : PTE_NX));
  } else if (what == 8) {
    const u64 word = random(WORDS);
    AT(u64, frame_at(f) + 8 * word) = frames[f].words[word] = next_random(&seed);
  } else {
    frames[f].code = (u32)next_random(&seed);
    AT(u64, frame_at(f) + FUNCTION) = code_of(frames[f].code);
  }
}
static void change_space(void) {
  current = random(SPACES);
  const u64 pcid = read_cr4() & CR4_PCIDE ? (current + 1) | (!stale[current] && random(2) ? 1ull << 63 : 0) : 0;
  write_cr3(spaces[current] | pcid);
  stale[current] = 0;
}
static void make_batch(void) {
  for (u64 n = 0; n < BATCH; ++n) {
    struct Op* o = &ops[n];
    const u64 page = random(random(2) ? PAGES : 4), base = random(8) ? VA + page * 4096 : BIG_VA + page % FRAMES * 4096;
    *o = (struct Op){.kind = random(KINDS), .value = next_random(&seed), .at = base + 8 * random(WORDS)};
    if (o->kind == RUN_IT || o->kind == WRITE_CODE) o->at = base + FUNCTION;
    if (o->kind == WRITE_CODE) o->value = code_of((u32)o->value);
    if (o->kind == ACROSS_READ || o->kind == ACROSS_WRITE)
      o->at = base + 4092 - (page == PAGES - 1 || base - BIG_VA == (FRAMES - 1) * 4096 ? 4096 : 0);
    if (base >= BIG_VA && o->kind == RUN_IT) o->kind = READ, o->at = base;
  }
}
static void check_flags(void) {
  for (u64 page = 0; page < PAGES; ++page) CASE_EQ("flags of a page", *pte(current, page), entries[current][page]);
  CASE_EQ("flags of the large page", *space_pte(spaces[current], BIG_VA, 2) & (A | D), big_flags[current]);
}
static void check_memory(void) {
  for (u64 f = 0; f < FRAMES; ++f) {
    for (u64 n = 0; n < WORDS; ++n) CASE_EQ("memory", AT(u64, frame_at(f) + 8 * n), frames[f].words[n]);
    CASE_EQ("memory of code", AT(u64, frame_at(f) + FUNCTION), code_of(frames[f].code));
  }
}

static void begin(void) {
  for (u64 n = 0; n < SPACES; ++n) {
    spaces[n] = new_space();
    for (u64 page = 0; page < PAGES; ++page) *pte(n, page) = entries[n][page] = 0;
    big_flags[n] = 0;
    *space_pte(spaces[n], BIG_VA, 2) = FRAMES_AT | PTE_URW | PTE_PS;
  }
  for (u64 f = 0; f < FRAMES; ++f) {
    for (u64 n = 0; n < 512; ++n) AT(u64, frame_at(f) + 8 * n) = 0;
    for (u64 n = 0; n <= WORDS; ++n) frames[f].words[n] = 0;
    frames[f].code = 0;
    AT(u64, frame_at(f) + FUNCTION) = code_of(0);
  }
}
static void run(u64 from) {
  seed = from;
  begin();
  change_space();
  for (u64 n = 0; n < 100; ++n) change();
  for (u64 batch = 0; batch < BATCHES; ++batch) {
    for (u64 n = random(8); n; --n) change();
    if (random(8) == 0) change_space();
    make_batch();
    CHECK_EQ(serve_user(do_batch, BATCH, 0, 0), BATCH);
    for (u64 n = 0; n < BATCH; ++n) check_op(&ops[n]);
    check_flags();
    if (batch % 16 == 0) check_memory();
  }
  check_memory();
}

void test(void) {
  user_init();
  const u64 base = read_cr3();
  for (u64 n = 1; n <= 2; ++n) run(n * 12345);
  write_cr3(base);
  write_cr4(read_cr4() | CR4_PCIDE);
  for (u64 n = 3; n <= 4; ++n) run(n * 12345);
}
