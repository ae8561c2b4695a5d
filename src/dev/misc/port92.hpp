#pragma once
#include <atomic>
#include <functional>

#include "bus/byte_pio.hpp"

namespace bhyve::dev {

/// System control port A at 92h: bit 0 going from 0 to 1 resets the processor, bit 1 is the gate of
/// A20, which is always open here and reads as it was written. Thread safety: any thread.
class Port92 final : public bus::BytePio, public bus::Lifecycle, public bus::Persist {
 public:
  static constexpr u16 port = 0x92, ports = 1;

  explicit Port92(std::function<void()> on_reset) : on_reset_(std::move(on_reset)) {}

  void reset() override { value_ = a20; }
  void save(StateWriter& out) const override {
    out.section("port92", 1, [this](StateWriter& w) { w.put_u8(value_); });
  }
  [[nodiscard]] Result<void> load(const StateReader& in) override {
    auto loaded =
        in.section("port92", 1, [this](StateSection& s) { value_ = s.get_u8() & writable; });
    if (!loaded) reset();
    return loaded;
  }

 private:
  enum Bit : u8 { fast_reset = 0x01, a20 = 0x02, writable = 0x03 };

  u8 byte_read(u16) override { return value_; }
  void byte_write(u16, u8 value) override {
    const u8 old = value_.exchange(value & writable);
    if ((value & ~old & fast_reset) != 0 && on_reset_) on_reset_();
  }

  const std::function<void()> on_reset_;
  std::atomic<u8> value_{a20};
};

}  // namespace bhyve::dev
