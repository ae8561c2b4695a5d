#pragma once
#include <mutex>

#include "bus/device.hpp"
#include "platform/fw_ctl.hpp"

namespace bhyve::platform {

/// `-l fwcfg,bhyve`: the ports of FwCtl, 510h and 511h. Words of 16 bits select, bytes read the
/// signature, and words of 32 bits are requests and answers. Lock: one, guards the chip.
class FwCtlPio final : public bus::Pio, public bus::Lifecycle, public bus::Persist {
 public:
  static constexpr u16 port = 0x510, ports = 5;  ///< a word at 511h reaches up to 514h

  explicit FwCtlPio(FwCtl values) : chip_(std::move(values)) {}

  u32 pio_read(u16 offset, unsigned size) override;
  void pio_write(u16 offset, unsigned size, u32 value) override;
  void reset() override;
  void save(StateWriter& out) const override;
  [[nodiscard]] Result<void> load(const StateReader& in) override;

 private:
  mutable std::mutex mutex_;
  FwCtl chip_;  ///< guarded by mutex_
};

}  // namespace bhyve::platform
