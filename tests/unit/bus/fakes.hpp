#pragma once
#include <array>

#include "bus/device.hpp"

namespace bhyve::bus::test {

struct FakePio final : Pio {
  u32 answer = 0x12345678;
  u32 written = 0;
  int reads = 0, writes = 0;
  u16 offset = 0;
  u32 pio_read(u16 o, unsigned) override { return ++reads, offset = o, answer; }
  void pio_write(u16 o, unsigned, u32 v) override { ++writes, offset = o, written = v; }
};

struct FakeMmio final : Mmio {
  u64 answer = 0x1122334455667788;
  u64 written = 0, offset = 0;
  int reads = 0, writes = 0;
  u64 mmio_read(u64 o, unsigned, VcpuId) override { return ++reads, offset = o, answer; }
  void mmio_write(u64 o, unsigned, u64 v, VcpuId) override { ++writes, offset = o, written = v; }
};

}  // namespace bhyve::bus::test
