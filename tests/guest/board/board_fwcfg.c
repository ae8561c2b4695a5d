/* QEMU's firmware configuration device: numbers, the directory, files by port and by DMA (QEMU,
 * docs/specs/fw_cfg.rst).
 * @options -l fwcfg,qemu -c 3 -m 4G -f opt/one,string=hello -f opt/two,string=world-wide
 * @options -U 00112233-4455-6677-8899-aabbccddeeff
 */
#include "pci.h"

enum { SELECT = 0x510, DATA = 0x511, DMA = 0x514 };
enum { SIGNATURE = 0, ID = 1, UUID = 2, RAM = 3, CPUS = 5, MAX_CPUS = 15, DIRECTORY = 0x19 };
enum { DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8 };
struct Request {
  u32 control, length;
  u64 address;
};
struct File {
  u32 size, key;
  char name[56];
};
static volatile struct Request request;
static volatile u8 buffer[8192];

static u64 little(unsigned bytes) {
  u64 value = 0;
  for (unsigned i = 0; i < bytes; ++i) value |= (u64)inb(DATA) << 8 * i;
  return value;
}
static u32 big32(void) { return __builtin_bswap32((u32)little(4)); }
static u64 number(u16 key, unsigned bytes) {
  outw(SELECT, key);
  return little(bytes);
}
static int same(const char* a, const char* b) {
  for (; *a && *a == *b; ++a, ++b) {}
  return *a == *b;
}
static struct File find(const char* name) {
  struct File file;
  outw(SELECT, DIRECTORY);
  for (u32 left = big32(); left--;) {
    file.size = big32();
    file.key = big32() >> 16;
    for (unsigned i = 0; i < sizeof file.name; ++i) file.name[i] = (char)inb(DATA);
    if (same(file.name, name)) return file;
  }
  failed("board_fwcfg.c", __LINE__, name, 0, 1);
}
static u32 dma(u32 control, u32 length) {
  request.control = __builtin_bswap32(control);
  request.length = __builtin_bswap32(length);
  request.address = __builtin_bswap64((u64)buffer);
  outl(DMA, 0);
  outl(DMA + 4, __builtin_bswap32((u32)(u64)&request));
  return __builtin_bswap32(request.control);
}

void test(void) {
  CHECK_EQ(number(SIGNATURE, 4), 0x554d4551);  // "QEMU"
  CHECK_EQ(number(ID, 4), 3);  // files and DMA
  CHECK_EQ(number(RAM, 8), 4ull << 30);
  CHECK_EQ(number(CPUS, 2), 3);
  CHECK_EQ(number(MAX_CPUS, 2), 3);
  CHECK_EQ(number(UUID, 8), 0x7766554433221100);
  CHECK_EQ(number(0x7000, 4), 0);  // no such item
  const struct File one = find("opt/one"), two = find("opt/two"), map = find("etc/e820");
  CHECK_EQ(one.size, 5);
  CHECK_EQ(number((u16)one.key, 6), 0x6f6c6c6568);  // "hello", and zeros behind it
  CHECK_EQ(two.size, 10);
  CHECK_EQ(inl(DMA), 0x554d4551);
  CHECK_EQ(inl(DMA + 4), 0x47464320);  // " CFG"
  CHECK_EQ(dma(two.key << 16 | DMA_SELECT | DMA_SKIP, 6), 0);
  CHECK_EQ(dma(DMA_READ, 6), 0);
  CHECK(buffer[0] == 'w' && buffer[3] == 'e' && buffer[4] == 0 && buffer[5] == 0);
  request.control = 0;
  outl(DMA, __builtin_bswap32(0x7fff0000));  // a request where no memory is harms nobody
  outl(DMA + 4, 0);
  // The memory map: all of RAM but the hole for video and firmware.
  CHECK_EQ(map.size % 20, 0);
  CHECK_EQ(dma(map.key << 16 | DMA_SELECT | DMA_READ, map.size), 0);
  u64 ram = 0, end = 0;
  for (u32 at = 0; at < map.size; at += 20) {
    const u64 base = AT(u64, (u64)buffer + at), size = AT(u64, (u64)buffer + at + 8);
    CHECK(base >= end);
    end = base + size;
    if (AT(u32, (u64)buffer + at + 16) == 1) ram += size;
  }
  CHECK(ram > (4ull << 30) - (1 << 20) && ram <= (4ull << 30) - 0x20000);
  static const char* const files[] = {"etc/acpi/rsdp", "etc/acpi/tables", "etc/table-loader", "etc/smbios/smbios-anchor",
                                      "etc/smbios/smbios-tables"};
  for (unsigned i = 0; i < 5; ++i) CHECK(find(files[i]).size);
  passed();
}
