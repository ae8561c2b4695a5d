#pragma once
#include <mutex>

#include "base/callout.hpp"
#include "bus/device.hpp"
#include "intc/pins.hpp"
#include "timer/owed_ticks.hpp"
#include "timer/vatpit.hpp"

namespace bhyve::timer {

/// Puts the PIT on ports 40h-43h (this object, offset 0..3) and 61h (speaker(), offset 0), and its
/// channel 0 on IRQ 0. Every rise of the output is one edge; the pin stays high in between as the
/// real output does. Rises nearer than 20 us are delayed. Ticks that
/// the interrupt swallows are owed (owed_ticks.hpp). Nothing is armed unless channel 0 counts.
class VatpitPio final : public bus::Pio, public bus::Lifecycle, public bus::Persist {
 public:
  /// `irq0` joins the PIC's input 0 and I/O APIC pin 2. All must outlive this object.
  VatpitPio(CalloutWheel& wheel, intc::IrqPin& irq0);

  u32 pio_read(u16 offset, unsigned size) override;
  void pio_write(u16 offset, unsigned size, u32 value) override;
  [[nodiscard]] bus::Pio& speaker() { return speaker_; }

  /// False while the HPET's legacy replacement route cuts the PIT off from IRQ 0 (VhpetMmio calls
  /// it). The PIT counts on.
  void set_irq_enabled(bool enabled);

  /// It has raised IRQ 0 by a periodic tick, and irq_taken() has not come. Any thread.
  [[nodiscard]] bool tick_outstanding() const { return owed_.outstanding(); }
  /// The guest has taken IRQ 0: a tick that is owed follows.
  void irq_taken();

  void start() override;
  void pause() override;
  void reset() override;
  void save(StateWriter& out) const override;
  [[nodiscard]] Result<void> load(const StateReader& in) override;

 private:
  class Speaker final : public bus::Pio {
   public:
    explicit Speaker(VatpitPio& owner) : owner_(owner) {}
    u32 pio_read(u16 offset, unsigned size) override;
    void pio_write(u16 offset, unsigned size, u32 value) override;

   private:
    VatpitPio& owner_;
  };

  void expire();
  void rearm(Nanos now);  ///< with lock_ held
  void drive(Nanos now);  ///< with lock_ held
  void edge();            ///< with lock_ held

  mutable std::mutex lock_;  ///< guards all below; taken before the locks of pins and the wheel
  Vatpit chip_;
  intc::IrqPin& irq0_;
  bool started_ = false;
  bool irq_enabled_ = true;
  Nanos due_ = never;  ///< the edge that the callout is armed for
  OwedTicks owed_;
  Speaker speaker_{*this};
  Callout callout_;  ///< last: drained before anything else goes
};

}  // namespace bhyve::timer
