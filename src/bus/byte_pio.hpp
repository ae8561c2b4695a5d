#pragma once
#include "bus/device.hpp"

namespace bhyve::bus {

/// A device with byte-wide registers: wider accesses become byte accesses at rising offsets, as the
/// ISA bus does it. An access never reaches past the registered range.
class BytePio : public Pio {
 public:
  u32 pio_read(u16 offset, unsigned size) final {
    u32 value = 0;
    for (unsigned i = 0; i < size; ++i)
      value |= u32{byte_read(static_cast<u16>(offset + i))} << (8 * i);
    return value;
  }
  void pio_write(u16 offset, unsigned size, u32 value) final {
    for (unsigned i = 0; i < size; ++i)
      byte_write(static_cast<u16>(offset + i), static_cast<u8>(value >> (8 * i)));
  }

 protected:
  virtual u8 byte_read(u16 offset) = 0;
  virtual void byte_write(u16 offset, u8 value) = 0;
};

}  // namespace bhyve::bus
