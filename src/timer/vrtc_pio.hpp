#pragma once
#include <mutex>
#include <optional>

#include "base/callout.hpp"
#include "bus/device.hpp"
#include "intc/pins.hpp"
#include "timer/vrtc.hpp"

namespace bhyve::timer {

/// Seconds since 1970 of the host's clock as a guest expects them: UTC (bhyve -u), or the host's
/// local time counted as if it were UTC.
[[nodiscard]] i64 rtc_time_of_host(bool utc);

/// Puts the RTC on ports 70h-73h and its output on IRQ 8. The pin follows register C: it stays high
/// until the guest reads C. A callout is armed only while an interrupt is enabled and not yet
/// pending.
class VrtcPio final : public bus::Pio, public bus::Lifecycle, public bus::Persist {
 public:
  /// seconds: the first time shown, usually rtc_time_of_host(). All must outlive this object.
  VrtcPio(CalloutWheel& wheel, intc::IrqPin& irq8, i64 seconds);

  u32 pio_read(u16 offset, unsigned size) override;
  void pio_write(u16 offset, unsigned size, u32 value) override;

  /// False while the HPET's legacy replacement route has IRQ 8.
  void set_irq_enabled(bool enabled);

  /// vm_rtc_gettime, vm_rtc_settime: seconds since 1970 as the guest's calendar shows them.
  [[nodiscard]] i64 time() const;
  void set_time(i64 seconds);
  /// vm_rtc_read, vm_rtc_write: CMOS memory 0Eh..7Fh except the century; false for other offsets.
  [[nodiscard]] std::optional<u8> nvram(unsigned offset) const;
  [[nodiscard]] bool set_nvram(unsigned offset, u8 value);
  /// Fills the bytes from which firmware learns the memory size: 34h/35h count 64 KiB units from
  /// 16 MiB to the PCI hole, 5Bh-5Dh 64 KiB units from 4 GiB.
  void set_memory_size(u64 lowmem, u64 highmem);

  void start() override;
  void pause() override;
  void reset() override;
  void save(StateWriter& out) const override;
  [[nodiscard]] Result<void> load(const StateReader& in) override;

 private:
  void publish(Nanos now);  ///< pin and callout follow the chip; with lock_ held
  void callout_fired();

  mutable std::mutex lock_;  ///< guards all below; taken before the locks of pins and the wheel
  Vrtc chip_;
  intc::IrqPin& irq8_;
  bool started_ = false;
  bool irq_enabled_ = true;
  Callout callout_;  ///< last: drained before anything else goes
};

}  // namespace bhyve::timer
