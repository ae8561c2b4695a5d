#pragma once
#include <array>
#include <functional>
#include <mutex>

#include "base/callout.hpp"
#include "bus/device.hpp"
#include "intc/pins.hpp"
#include "timer/owed_ticks.hpp"
#include "timer/vhpet.hpp"

namespace bhyve::timer {

/// What the HPET's interrupts are connected to. Everything must outlive the device; null pins are
/// not connected and are left out of the routes that the guest may choose.
struct VhpetWiring final {
  std::array<intc::IrqPin*, 32> pins{};  ///< I/O APIC inputs by number
  intc::IrqPin* legacy_irq0 = nullptr;   ///< timer 0 under legacy replacement (I/O APIC pin 2)
  intc::IrqPin* legacy_irq8 = nullptr;   ///< timer 1 under legacy replacement
  intc::MsiSink* msi = nullptr;
  /// Called when legacy replacement goes on or off: cut the PIT and RTC off from their interrupts
  /// (VatpitPio::set_irq_enabled, VrtcPio::set_irq_enabled). Under this device's lock.
  std::function<void(bool legacy)> legacy_changed;
};

/// Puts the HPET on MMIO (400h bytes at FED00000h) and its interrupts on pins and MSI. One callout
/// for all comparators, armed only while one with its interrupt enabled can match. Interrupts nearer
/// than 20 us collapse. Ticks of timer 0 that IRQ 0 swallows are owed (owed_ticks.hpp).
class VhpetMmio final : public bus::Mmio, public bus::Lifecycle, public bus::Persist {
 public:
  /// routes: the allowed I/O APIC inputs, usually Vhpet::allowed_routes(pins).
  VhpetMmio(CalloutWheel& wheel, u32 routes, VhpetWiring wiring);

  /// vm_get_hpet_capabilities().
  [[nodiscard]] static u32 capabilities() { return Vhpet::capabilities(); }

  /// It has raised IRQ 0 by a periodic tick, and irq_taken() has not come. Any thread.
  [[nodiscard]] bool tick_outstanding() const { return owed_.outstanding(); }
  /// The guest has taken IRQ 0: a tick that is owed follows.
  void irq_taken();

  u64 mmio_read(u64 offset, unsigned size, VcpuId vcpu) override;
  void mmio_write(u64 offset, unsigned size, u64 value, VcpuId vcpu) override;

  void start() override;
  void pause() override;
  void reset() override;
  void save(StateWriter& out) const override;
  [[nodiscard]] Result<void> load(const StateReader& in) override;

 private:
  void callout_fired();
  // All with lock_ held.
  void settle(Nanos now);
  void publish();
  void fire(unsigned timer);
  [[nodiscard]] bool ticks_on_irq0() const;
  void drive_lines();
  [[nodiscard]] intc::IrqPin* line_of(unsigned timer) const;

  mutable std::mutex lock_;  ///< guards all below; taken before the locks of pins and the wheel
  VhpetWiring wiring_;
  Vhpet chip_;
  bool started_ = false;
  OwedTicks owed_;  ///< of timer 0
  bool legacy_ = false;  ///< what legacy_changed was last told
  std::array<intc::IrqPin*, Vhpet::timers> held_{};  ///< pin that each timer's level asserts
  Callout callout_;  ///< last: drained before anything else goes
};

}  // namespace bhyve::timer
