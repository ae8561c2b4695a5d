#pragma once
#include <atomic>
#include <mutex>

#include "bus/device.hpp"
#include "intc/cpu_sink.hpp"
#include "intc/pin_join.hpp"
#include "intc/vatpic.hpp"

namespace bhyve::intc {

/// The 8259A pair on the bus: lock, ports and pins. INTR goes to vCPU 0 as ExtINT. Section
/// "vatpic". Any thread; CpuSink is called with no lock held.
class VatpicPio final : public bus::Lifecycle, public bus::Persist {
 public:
  explicit VatpicPio(CpuSink& sink);
  VatpicPio(const VatpicPio&) = delete;
  VatpicPio& operator=(const VatpicPio&) = delete;

  [[nodiscard]] bus::Pio& master_ports() { return master_; }  ///< two ports (20h)
  [[nodiscard]] bus::Pio& slave_ports() { return slave_; }    ///< two ports (A0h)
  [[nodiscard]] bus::Pio& elcr_ports() { return elcr_; }      ///< two ports (4D0h)

  /// ISA interrupt `n` (< 16; 2 is the cascade and does nothing), for a device that has it alone.
  [[nodiscard]] IrqPin& pin(unsigned n) { return join_.pin(n); }
  /// One more pin at interrupt `n`, for devices that share it.
  [[nodiscard]] IrqPin& connect(unsigned n) { return join_.connect(n); }

  /// Wires INTR to another controller's input too (input 0 of the I/O APIC, as the MP table says).
  /// Before anything runs. The pin is moved with no lock held.
  void connect_output(IrqPin& pin) { output_ = &pin; }

  /// The INTR output now; lock-free.
  [[nodiscard]] bool intr() const { return intr_.load(std::memory_order_acquire); }
  /// The vCPU takes ExtINT: the vector, or -1 if INTR has gone low. A CPU samples INTR before it
  /// starts the INTA cycles; both happen here under one lock, so a request that was withdrawn in
  /// time is simply not seen, where a bus would deliver a spurious IRQ 7.
  int acknowledge();

  void reset() override;
  void save(StateWriter& out) const override;
  [[nodiscard]] Result<void> load(const StateReader& in) override;

 private:
  enum class Range : u8 { master, slave, elcr };

  class Ports final : public bus::Pio {
   public:
    Ports(VatpicPio& pic, Range range) : pic_(pic), range_(range) {}
    u32 pio_read(u16 offset, unsigned size) override;
    void pio_write(u16 offset, unsigned size, u32 value) override;

   private:
    VatpicPio& pic_;
    const Range range_;
  };

  [[nodiscard]] u8 read(Range range, u16 port);
  void write(Range range, u16 port, u8 value);
  void tell();
  void drive_output();

  CpuSink& sink_;
  IrqPin* output_ = nullptr;
  mutable std::mutex lock_;
  Vatpic chip_;  ///< guarded by lock_
  PinJoin join_;
  std::atomic<bool> intr_{false};  ///< written with lock_ held
  bool announced_ = false;         ///< INTR as the sink knows it; guarded by lock_
  Ports master_{*this, Range::master}, slave_{*this, Range::slave}, elcr_{*this, Range::elcr};
};

}  // namespace bhyve::intc
