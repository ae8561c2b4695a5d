/* bhyve's firmware interface: the signature, values by name, errors.
 * @options -l fwcfg,bhyve -c 6
 */
#include "pci.h"

enum { OUT = 0x510, IN = 0x511, GET = 3, GET_LENGTH = 4, NUMBER = 0x1234, NOT_FOUND = 2 };

static void ask(u32 operation, const u32* name, u32 words) {
  outl(OUT, 12 + 4 * words);
  outl(OUT, operation);
  outl(OUT, NUMBER);
  for (u32 i = 0; i < words; ++i) outl(OUT, name[i]);
}

void test(void) {
  static const u32 cpus[] = {0x6e2e7768, 0x00757063}, none[] = {0x6e2e7768, 0x00006f6e};  // hw.ncpu, hw.nno
  outw(OUT, 0);
  static const char signature[] = "BHYV";
  for (unsigned i = 0; i < 4; ++i) CHECK_EQ(inb(IN), signature[i]);
  ask(GET, cpus, 2);
  static const u32 value[] = {28, GET, NUMBER, 0, 4, 0, 6};
  for (unsigned i = 0; i < 7; ++i) CHECK_EQ(inl(IN), value[i]);
  ask(GET_LENGTH, cpus, 2);
  static const u32 length[] = {24, GET_LENGTH, NUMBER, 0, 4, 0};
  for (unsigned i = 0; i < 6; ++i) CHECK_EQ(inl(IN), length[i]);
  CHECK_EQ(inl(IN), ~0u);
  ask(GET, none, 2);
  static const u32 missing[] = {16, GET, NUMBER, NOT_FOUND};
  for (unsigned i = 0; i < 4; ++i) CHECK_EQ(inl(IN), missing[i]);
  passed();
}
