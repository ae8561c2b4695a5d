#pragma once
#include <atomic>
#include <functional>

#include "bus/byte_pio.hpp"

namespace bhyve::dev {

/// Reset control register of the PIIX family at port CF9h (82371AB data sheet section 4.1.6): one
/// port. Bit 1 selects a hard reset, bit 2 going from 0 to 1 starts it. Thread safety: any thread.
class ResetControl final : public bus::BytePio, public bus::Lifecycle, public bus::Persist {
 public:
  static constexpr u16 ports = 1;
  /// hard: by reset control's bit 1. To return at once; the reset itself comes later.
  using Reset = std::function<void(bool hard)>;

  explicit ResetControl(Reset on_reset) : on_reset_(std::move(on_reset)) {}

  void reset() override { value_ = 0; }
  void save(StateWriter& out) const override;
  [[nodiscard]] Result<void> load(const StateReader& in) override;

 private:
  u8 byte_read(u16) override { return value_; }
  void byte_write(u16, u8 value) override;

  const Reset on_reset_;
  std::atomic<u8> value_{0};
};

}  // namespace bhyve::dev
