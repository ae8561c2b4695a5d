#pragma once
#include "dev/ps2/ps2_device.hpp"

namespace bhyve::dev {

/// A PS/2 mouse that answers every command and lies still (IBM PS/2 technical reference, mouse). Pure.
class Ps2Mouse final : public Ps2Device {
 public:
  void write(u8 byte) override;
  void reset() override;
  void save(StateWriter& out) const override;
  void load(StateSection& in) override;

 private:
  void defaults();
  void command(u8 byte);
  void send_status();

  u8 pending_ = 0;  ///< command that waits for its argument, or 0
  u8 resolution_ = 2, rate_ = 100;
  bool scaling_ = false, reporting_ = false, remote_ = false, wrap_ = false;
};

}  // namespace bhyve::dev
