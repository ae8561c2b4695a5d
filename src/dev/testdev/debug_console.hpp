#pragma once
#include <memory>

#include "bus/byte_pio.hpp"
#include "host/char_backend.hpp"

namespace bhyve::dev {

/// `-l debugcon,stdio`: the debug console of Bochs and QEMU, one port at E9h. What is written there
/// goes out; reading gives E9h, by which programs tell that it is there. It has no way to make the
/// guest wait: bytes that the back end has no room for are lost. Thread safety: any thread.
class DebugConsole final : public bus::BytePio, public bus::Lifecycle {
 public:
  static constexpr u16 port = 0xe9, ports = 1;

  explicit DebugConsole(std::unique_ptr<host::CharBackend> backend)
      : backend_(std::move(backend)) {}

  void pause() override { backend_->flush(); }
  void reset() override {}

 private:
  u8 byte_read(u16) override { return 0xe9; }
  void byte_write(u16, u8 value) override { (void)backend_->write(std::span(&value, 1)); }

  const std::unique_ptr<host::CharBackend> backend_;
};

}  // namespace bhyve::dev
