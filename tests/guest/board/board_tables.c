/* The tables that a kernel finds in memory: RSDP and what hangs on it, the MP table, SMBIOS with every variable
 * (ACPI 5.2; MP specification 4; DSP0134).
 * @options -c 4 -s 4,pci-testdev -l com1,pty -U 00112233-4455-6677-8899-aabbccddeeff
 * @options -o bios.vendor=t01 -o bios.version=t02 -o bios.release_date=t03
 * @options -o system.manufacturer=t04 -o system.product_name=t05 -o system.version=t06
 * @options -o system.serial_number=t07 -o system.sku=t08 -o system.family_name=t09
 * @options -o board.manufacturer=t10 -o board.product_name=t11 -o board.version=t12
 * @options -o board.serial_number=t13 -o board.asset_tag=t14 -o board.location=t15
 * @options -o chassis.manufacturer=t16 -o chassis.version=t17 -o chassis.serial_number=t18
 * @options -o chassis.asset_tag=t19 -o chassis.sku=t20
 */
#include "pci.h"

static u8 sum(u64 at, u64 size) {
  u8 total = 0;
  while (size--) total = (u8)(total + AT(u8, at++));
  return total;
}
static u64 anchor(u32 signature, u32 more) {
  for (u64 at = 0xf0000; at < 0x100000; at += 16)
    if (AT(u32, at) == signature && (!more || AT(u32, at + 4) == more)) return at;
  failed("board_tables.c", __LINE__, "anchor", signature, 0);
}
#define SIGNATURE(a, b, c, d) ((u32)(a) | (u32)(b) << 8 | (u32)(c) << 16 | (u32)(d) << 24)

static void acpi(void) {
  const u64 rsdp = anchor(SIGNATURE('R', 'S', 'D', ' '), SIGNATURE('P', 'T', 'R', ' '));
  CHECK_EQ(sum(rsdp, 20), 0);
  CHECK_EQ(AT(u8, rsdp + 15), 2);
  CHECK_EQ(sum(rsdp, AT(u32, rsdp + 20)), 0);
  const u64 xsdt = AT(u64, rsdp + 24);
  static const u32 wanted[] = {SIGNATURE('F', 'A', 'C', 'P'), SIGNATURE('A', 'P', 'I', 'C'), SIGNATURE('H', 'P', 'E', 'T'),
                               SIGNATURE('M', 'C', 'F', 'G'), SIGNATURE('S', 'P', 'C', 'R')};
  CHECK_EQ(AT(u32, xsdt), SIGNATURE('X', 'S', 'D', 'T'));
  CHECK_EQ(sum(xsdt, AT(u32, xsdt + 4)), 0);
  CHECK_EQ((AT(u32, xsdt + 4) - 36) / 8, 5);
  unsigned found = 0;
  u64 fadt = 0, madt = 0;
  for (u64 at = xsdt + 36; at < xsdt + AT(u32, xsdt + 4); at += 8) {
    const u64 table = AT(u64, at);
    CHECK_EQ(sum(table, AT(u32, table + 4)), 0);
    for (unsigned i = 0; i < 5; ++i) found |= (unsigned)(AT(u32, table) == wanted[i]) << i;
    if (AT(u32, table) == wanted[0]) fadt = table;
    if (AT(u32, table) == wanted[1]) madt = table;
  }
  CHECK_EQ(found, 31);
  const u64 facs = AT(u32, fadt + 36), dsdt = AT(u64, fadt + 140);
  CHECK_EQ(AT(u32, facs), SIGNATURE('F', 'A', 'C', 'S'));
  CHECK_EQ(facs % 64, 0);
  CHECK_EQ(AT(u32, dsdt), SIGNATURE('D', 'S', 'D', 'T'));
  CHECK_EQ(AT(u32, fadt + 40), dsdt);
  CHECK_EQ(sum(dsdt, AT(u32, dsdt + 4)), 0);
  unsigned cpus = 0;
  for (u64 at = madt + 44; at < madt + AT(u32, madt + 4); at += AT(u8, at + 1))
    if (AT(u8, at) == 0) CHECK_EQ(AT(u8, at + 3), cpus++);
  CHECK_EQ(cpus, 4);
}

static void mp(void) {
  const u64 pointer = anchor(SIGNATURE('_', 'M', 'P', '_'), 0), table = AT(u32, pointer + 4);
  CHECK_EQ(sum(pointer, 16 * AT(u8, pointer + 8)), 0);
  CHECK_EQ(AT(u32, table), SIGNATURE('P', 'C', 'M', 'P'));
  CHECK_EQ(sum(table, AT(u16, table + 4)), 0);
  unsigned kinds[5] = {0}, pci = 0;
  u64 at = table + 44;
  for (unsigned i = 0; i < AT(u16, table + 34); ++i) {
    const u8 kind = AT(u8, at);
    CHECK(kind < 5);
    ++kinds[kind];
    if (kind == 3 && AT(u8, at + 4) == 0) {  // of bus 0, PCI: the card in slot 4 goes where the card says
      CHECK_EQ(AT(u8, at + 5) >> 2, 4);
      CHECK_EQ(AT(u8, at + 7), 16 + (4 + 4 + 1 + (AT(u8, at + 5) & 3)) % 8);
      ++pci;
    }
    at += kind ? 8 : 20;
  }
  CHECK_EQ(at, table + AT(u16, table + 4));
  CHECK_EQ(kinds[0], 4);
  CHECK_EQ(kinds[1], 2);
  CHECK_EQ(kinds[2], 1);
  CHECK_EQ(kinds[4], 2);
  CHECK_EQ(pci, 4);
}

static void smbios(void) {
  const u64 entry = anchor(SIGNATURE('_', 'S', 'M', '_'), 0);
  CHECK_EQ(sum(entry, AT(u8, entry + 5)), 0);
  CHECK_EQ(sum(entry + 16, AT(u8, entry + 5) - 16u), 0);
  const u64 table = AT(u32, entry + 24), end = table + AT(u16, entry + 22);
  unsigned texts = 0, structures = 0;
  for (u64 at = table; at < end; ++structures) {
    if (AT(u8, at) == 1) {
      CHECK_EQ(AT(u64, at + 8), 0x6677445500112233);  // the first three fields are little-endian
      CHECK_EQ(AT(u64, at + 16), 0xffeeddccbbaa9988);
    }
    at += AT(u8, at + 1);
    for (; AT(u16, at); ++at)  // up to two zeros
      if (AT(u8, at) == 't' && !AT(u8, at + 3)) {
        const unsigned n = (AT(u8, at + 1) - '0') * 10u + AT(u8, at + 2) - '0';
        if (n >= 1 && n <= 20) texts |= 1u << n;
      }
    at += 2;
  }
  CHECK_EQ(texts, 0x1ffffe);
  CHECK_EQ(structures, AT(u16, entry + 28));
}

void test(void) {
  acpi();
  mp();
  smbios();
  passed();
}
