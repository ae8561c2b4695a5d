#pragma once
#include "bus/byte_pio.hpp"

namespace bhyve::dev {

/// POST code port at 84h: reads FFh, writes are ignored.
class PostPort final : public bus::BytePio {
 public:
  static constexpr u16 port = 0x84, ports = 1;

 private:
  u8 byte_read(u16) override { return 0xff; }
  void byte_write(u16, u8) override {}
};

}  // namespace bhyve::dev
