#pragma once
#include "dev/ps2/ps2_device.hpp"

namespace bhyve::dev {

/// An AT keyboard with scan code set 2 (IBM PS/2 technical reference, keyboard). Pure.
class Ps2Keyboard final : public Ps2Device {
 public:
  void write(u8 byte) override;
  void reset() override;
  void save(StateWriter& out) const override;
  void load(StateSection& in) override;

  /// The scan codes (set 2) of one key going down or up; lost while scanning is off or no room.
  bool key(std::span<const u8> scan_codes) { return scanning_ && send(scan_codes); }
  [[nodiscard]] u8 leds() const { return leds_; }

 private:
  void argument(u8 command, u8 byte);
  void defaults();

  u8 pending_ = 0;  ///< command that waits for its argument, or 0
  u8 leds_ = 0, rate_ = 0x2b, scan_set_ = 2;
  bool scanning_ = true;
};

}  // namespace bhyve::dev
