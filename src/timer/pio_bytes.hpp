#pragma once
#include "base/types.hpp"

namespace bhyve::timer {

/// A wide access to byte-wide chips is that many byte accesses at ascending ports, as the ISA bus
/// makes it; ports at or above `count` read as FFh and ignore writes.
template <class ReadByte>
[[nodiscard]] u32 read_bytes(u16 offset, unsigned size, unsigned count, ReadByte read_byte) {
  u32 value = 0;
  for (unsigned i = 0; i < size && i < 4; ++i) {
    const u8 byte = offset + i < count ? read_byte(offset + i) : u8{0xff};
    value |= u32{byte} << (8 * i);
  }
  return value;
}

template <class WriteByte>
void write_bytes(u16 offset, unsigned size, unsigned count, u32 value, WriteByte write_byte) {
  for (unsigned i = 0; i < size && i < 4; ++i)
    if (offset + i < count) write_byte(offset + i, static_cast<u8>(value >> (8 * i)));
}

/// Periodic timers fire at most this often, whatever rate a guest programs, so that it cannot keep
/// the callout thread busy. Nobody's tick is that short.
inline constexpr u64 min_interval_nanos = 20'000;

}  // namespace bhyve::timer
