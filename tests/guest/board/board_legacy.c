/* What PCs have at fixed places: CMOS with the sizes of memory, keyboard controller with keyboard and mouse,
 * POST port, port 92h, memory at A0000h, and nothing where nothing is.
 * @options -m 5G
 */
#include "pci.h"

enum { FULL = 1, FROM_MOUSE = 0x20 };
static volatile u64 keys, moves;
static void on_key(struct Frame* f) { (void)f; ++keys; apic_eoi(); }
static void on_move(struct Frame* f) { (void)f; ++moves; apic_eoi(); }

INLINE u8 cmos(u8 at) { outb(0x70, at); return inb(0x71); }
INLINE unsigned cmos16(u8 at) { return cmos(at) | cmos((u8)(at + 1)) << 8; }

static void memory_sizes(void) {
  CHECK_EQ(cmos16(0x15), 640);
  CHECK_EQ(cmos16(0x17), 0xffff);  // KiB above 1 MiB, as far as they count
  CHECK_EQ(cmos16(0x30), 0xffff);
  CHECK_EQ(cmos16(0x34), (3072 - 16) * 16);  // 64 KiB above 16 MiB
  CHECK_EQ(cmos16(0x5b) | cmos(0x5d) << 16, 2048 * 16);  // 64 KiB above 4 GiB
  CHECK_EQ(cmos(0x5f), 0);  // CPUs but the first
  unsigned sum = 0;
  for (u8 at = 0x10; at <= 0x2d; ++at) sum += cmos(at);
  CHECK_EQ(cmos(0x2e) << 8 | cmos(0x2f), sum & 0xffff);
  CHECK(cmos(0x0d) & 0x80);  // the battery is good
  static const u64 ends[] = {(3ull << 30) - 8, 4ull << 30, (6ull << 30) - 8};
  for (unsigned i = 0; i < 3; ++i) {
    map_page(ends[i] & ~0x1fffffull, ends[i] & ~0x1fffffull, PTE_P | PTE_W, 2);
    AT(u64, ends[i]) = ~ends[i];
  }
  for (unsigned i = 0; i < 3; ++i) CHECK_EQ(AT(u64, ends[i]), ~ends[i]);
}

static void video_memory(void) {
  for (u64 at = 0xa0000; at < 0xc0000; at += 8) AT(u64, at) = at * 0x9e3779b97f4a7c15;
  for (u64 at = 0xa0000; at < 0xc0000; at += 8) CHECK_EQ(AT(u64, at), at * 0x9e3779b97f4a7c15);
  static const u8 code[] = {0xb8, 0x2a, 0, 0, 0, 0xc3};  // mov $42, %eax; ret
  for (unsigned i = 0; i < sizeof code; ++i) AT(u8, 0xb8000ull + i) = code[i];
  CHECK_EQ(((u32(*)(void))0xb8000)(), 42);
}

static void small_ports(void) {
  outb(0x84, 0x12);
  CHECK_EQ(inb(0x84), 0xff);
  CHECK_EQ(inb(0x92), 2);
  AT(u32, 0x100000 + 0x7000) = 1;
  AT(u32, 0x7000) = 2;
  outb(0x92, 0);  // reads as written; A20 stays open
  CHECK_EQ(inb(0x92), 0);
  CHECK_EQ(AT(u32, 0x7000), 2);
  outb(0x92, 2);
  static const u16 nothing[] = {0x300, 0x80, 0x1f0, 0x1ce, 0x4000, 0xfffc};
  for (unsigned i = 0; i < sizeof nothing / sizeof *nothing; ++i) {
    outl(nothing[i], 0x12345678);
    CHECK_EQ(inl(nothing[i]), ~0u);
  }
  map_device(0xd0000000);
  AT(u64, 0xd0000000) = 1;
  CHECK_EQ(AT(u64, 0xd0000000), ~0ull);
  CHECK_EQ(AT(u8, 0xd0000001), 0xff);
}

static u8 key_data(int mouse) {
  const u8 status = inb(0x64);
  CHECK(status & FULL);
  CHECK_EQ(!!(status & FROM_MOUSE), mouse);
  return inb(0x60);
}
static void keyboard_and_mouse(void) {
  set_handler(0x51, on_key);
  set_handler(0x5c, on_move);
  ioapic_route(1, 0, 0x51);
  ioapic_route(12, 0, 0x5c);
  outb(0x64, 0xaa);
  CHECK_EQ(key_data(0), 0x55);
  outb(0x64, 0xab);
  CHECK_EQ(key_data(0), 0);
  outb(0x64, 0xa9);
  CHECK_EQ(key_data(0), 0);
  outb(0x64, 0x60);
  outb(0x60, 3);  // both interrupts, no translation
  open_window();
  const u64 before = keys;
  outb(0x60, 0xf2);
  open_window();
  CHECK_EQ(keys, before + 1);
  outb(0x64, 0x20);  // an answer of the controller waits for its turn
  CHECK_EQ(key_data(0), 0xfa);
  CHECK_EQ(key_data(0), 3);
  CHECK_EQ(key_data(0), 0xab);
  CHECK_EQ(key_data(0), 0x83);
  CHECK_EQ(inb(0x64) & FULL, 0);
  open_window();
  CHECK_EQ(moves, 0);
  outb(0x64, 0xd4);
  outb(0x60, 0xff);
  open_window();
  CHECK_EQ(moves, 1);
  static const u8 bytes[] = {0xfa, 0xaa, 0};
  for (unsigned i = 0; i < 3; ++i) {
    CHECK_EQ(key_data(1), bytes[i]);
    open_window();  // an edge for each byte
  }
  CHECK_EQ(moves, 3);
  outb(0x64, 0x60);
  outb(0x60, 0x30);  // no interrupts
  outb(0x60, 0xee);
  open_window();
  CHECK_EQ(key_data(0), 0xee);
  CHECK_EQ(moves, 3);
}

void test(void) {
  cli();
  apic_start();
  memory_sizes();
  video_memory();
  small_ports();
  keyboard_and_mouse();
  passed();
}
