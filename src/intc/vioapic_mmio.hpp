#pragma once
#include <mutex>

#include "bus/device.hpp"
#include "intc/pin_join.hpp"
#include "intc/vioapic.hpp"

namespace bhyve::intc {

/// The I/O APIC on the bus: lock, decode and pins. Section "vioapic".
///
/// Any thread. The lock is held while a message goes to the local APICs. That cannot deadlock:
/// LapicBus and Vlapic::set_irr() take no lock, call nothing but CpuSink, which never comes back
/// here, and never broadcast an EOI from within a delivery. Callers hold no lock that CpuSink
/// takes. Holding it makes remote IRR certain to be set before the EOI of a vCPU that was very
/// quick.
class VioapicMmio final : public bus::Mmio,
                          public bus::Lifecycle,
                          public bus::Persist,
                          public EoiSink {
 public:
  static constexpr unsigned default_pins = 32;

  /// Becomes the EoiSink of `bus`. `pins` is 1 .. Vioapic::max_pins.
  explicit VioapicMmio(LapicBus& bus, unsigned pins = default_pins);
  ~VioapicMmio() override;
  VioapicMmio(const VioapicMmio&) = delete;
  VioapicMmio& operator=(const VioapicMmio&) = delete;

  /// Input `n` (< pins()), for a device that has it alone.
  [[nodiscard]] IrqPin& pin(unsigned n) { return join_.pin(n); }
  /// One more pin at input `n`, for devices that share it.
  [[nodiscard]] IrqPin& connect(unsigned n) { return join_.connect(n); }
  [[nodiscard]] unsigned pins() const { return chip_.pins(); }
  /// The vector that input `n` (< pins()) is programmed to raise.
  [[nodiscard]] u8 vector(unsigned n) const {
    const std::lock_guard lock(lock_);
    return static_cast<u8>(chip_.entry(n));
  }

  /// Registers are 32 bits wide and answer to no other size; others read 0.
  u64 mmio_read(u64 offset, unsigned size, VcpuId vcpu) override;
  void mmio_write(u64 offset, unsigned size, u64 value, VcpuId vcpu) override;
  void eoi(u8 vector) override;
  void reset() override;
  void save(StateWriter& out) const override;
  [[nodiscard]] Result<void> load(const StateReader& in) override;

 private:
  LapicBus& bus_;
  mutable std::mutex lock_;
  Vioapic chip_;  ///< guarded by lock_
  PinJoin join_;
};

}  // namespace bhyve::intc
