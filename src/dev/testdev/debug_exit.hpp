#pragma once
#include <functional>

#include "bus/device.hpp"

namespace bhyve::dev {

/// QEMU's isa-debug-exit where kvm-unit-tests want it, ports F4h-F7h: writing `value` there ends the
/// VM, with exit status value * 2 + 1. Part of `-l pc-testdev`. Thread safety: any thread.
class DebugExit final : public bus::Pio {
 public:
  static constexpr u16 port = 0xf4, ports = 4;
  /// To return at once; the end comes later. Only 8 bits of a status reach the parent process.
  using Exit = std::function<void(u8 status)>;

  explicit DebugExit(Exit on_exit) : on_exit_(std::move(on_exit)) {}

  u32 pio_read(u16, unsigned) override { return 0; }
  void pio_write(u16, unsigned, u32 value) override { on_exit_(static_cast<u8>(value << 1 | 1)); }

 private:
  const Exit on_exit_;
};

}  // namespace bhyve::dev
