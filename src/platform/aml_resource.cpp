#include "platform/aml_resource.hpp"

#include "platform/byte_writer.hpp"

namespace bhyve::platform::aml {
namespace {

/// First byte of a descriptor: small ones hold their length in bits 2-0 (6.4.2, 6.4.3).
enum class Tag : u8 {
  irq_no_flags = 0x22, irq = 0x23, io = 0x47, end = 0x79, memory32_fixed = 0x86,
  dword_window = 0x87, word_window = 0x88, interrupt = 0x89, qword_window = 0x8a,
};

enum class WindowType : u8 { memory = 0, io = 1, bus = 2 };

constexpr u8 window_flags = 1u << 2 | 1u << 3;  ///< producer, positive decode, min and max fixed
constexpr u8 memory_read_write = 1, io_entire_range = 3;

u8 type_flags(WindowType type) {
  switch (type) {
    case WindowType::memory: return memory_read_write;
    case WindowType::io: return io_entire_range;
    case WindowType::bus: break;
  }
  return 0;
}

/// An address space descriptor whose five fields are `size` bytes each.
Term window(Tag tag, unsigned size, WindowType type, u64 first, u64 last) {
  ByteWriter out;
  out.put_u8(static_cast<u8>(tag)).put_u16(3 + u64{5} * size);
  out.put_u8(static_cast<u8>(type)).put_u8(window_flags).put_u8(type_flags(type));
  for (const u64 field : {u64{0}, first, last, u64{0}, last - first + 1}) {
    if (size == 2) out.put_u16(field);
    if (size == 4) out.put_u32(field);
    if (size == 8) out.put_u64(field);
  }
  return out.take();
}

}  // namespace

Term resource_template(const Terms& descriptors) {
  Term bytes;
  for (const Term& d : descriptors) bytes.insert(bytes.end(), d.begin(), d.end());
  bytes.push_back(static_cast<u8>(Tag::end));
  bytes.push_back(0);  // checksum: zero means "taken as right" (6.4.2.9)
  return buffer(bytes);
}

Term io(u16 first, u8 count) {
  constexpr u8 decode16 = 1;
  ByteWriter out;
  out.put_u8(static_cast<u8>(Tag::io)).put_u8(decode16).put_u16(first).put_u16(first);
  return out.put_u8(1).put_u8(count).take();
}

Term irq(u16 mask) {
  return ByteWriter().put_u8(static_cast<u8>(Tag::irq_no_flags)).put_u16(mask).take();
}

Term irq_level_shared(u16 mask) {
  constexpr u8 active_low = 1u << 3, shared = 1u << 4;
  return ByteWriter().put_u8(static_cast<u8>(Tag::irq)).put_u16(mask).put_u8(active_low | shared)
      .take();
}

Term interrupt_level_shared(u32 gsi) {
  constexpr u8 consumer = 1u << 0, active_low = 1u << 2, shared = 1u << 3;
  ByteWriter out;
  out.put_u8(static_cast<u8>(Tag::interrupt)).put_u16(6).put_u8(consumer | active_low | shared);
  return out.put_u8(1).put_u32(gsi).take();
}

Term memory32_fixed(bool writable, u32 base, u32 size) {
  ByteWriter out;
  out.put_u8(static_cast<u8>(Tag::memory32_fixed)).put_u16(9).put_u8(writable ? 1 : 0);
  return out.put_u32(base).put_u32(size).take();
}

Term word_bus_window(u16 first, u16 last) {
  return window(Tag::word_window, 2, WindowType::bus, first, last);
}

Term word_io_window(u16 first, u16 last) {
  return window(Tag::word_window, 2, WindowType::io, first, last);
}

Term dword_memory_window(u32 first, u32 last) {
  return window(Tag::dword_window, 4, WindowType::memory, first, last);
}

Term qword_memory_window(u64 first, u64 last) {
  return window(Tag::qword_window, 8, WindowType::memory, first, last);
}

}  // namespace bhyve::platform::aml
