#pragma once
#include <array>
#include <atomic>
#include <functional>

#include "base/address.hpp"
#include "base/clock.hpp"
#include "intc/cpu_sink.hpp"
#include "intc/lapic_regs.hpp"
#include "intc/pins.hpp"

namespace bhyve::intc {

class Vlapic;

/// What is the same for every local APIC of a VM.
struct LapicConfig final {
  /// Input clock of the timer before the divider; whole MHz, as CPUID 15h reports it.
  u64 timer_hz = nanos_per_second;
  /// MAXPHYADDR: address bits of APICBASE from here up are reserved.
  unsigned physical_bits = 46;
  bool x2apic = true;        ///< CPUID.1:ECX[21]
  /// Power-up leaves every local APIC in x2APIC mode, as firmware that found many CPUs does.
  bool start_in_x2apic = false;
  bool tsc_deadline = true;  ///< CPUID.1:ECX[24]
  /// The time (CLOCK_MONOTONIC) at which the guest TSC of a vCPU reaches a value, rounded up; may
  /// lie in the past; `never` if out of range. Empty: TSC deadlines never expire. Any thread.
  std::function<Nanos(u64 tsc, VcpuId vcpu)> tsc_to_nanos;
};

/// One interrupt message as it travels to the local APICs.
struct LapicMessage final {
  u32 destination = 0;
  bool logical = false;
  /// The destination has 32 bits (an IPI of a sender in x2APIC mode), so that FFh is no broadcast.
  bool wide = false;
  DeliveryMode mode = DeliveryMode::fixed;
  u8 vector = 0;
  bool level = false;     ///< goes into the TMR: its EOI is broadcast to the I/O APIC
  bool ipi = false;       ///< sent by a local APIC's ICR; for the counters
  bool redirect = false;  ///< one receiver only, as in lowest-priority mode
};

/// The APIC bus: routes IPIs, MSIs and I/O APIC messages to the local APICs of one VM. Thread
/// safety: everything may be called from any thread and takes no lock; attach and detach only while
/// the vCPU concerned is not addressed.
class LapicBus final : public MsiSink {
 public:
  static constexpr unsigned max_lapics = 1024;

  LapicBus(CpuSink& sink, LapicConfig config);

  [[nodiscard]] const LapicConfig& config() const { return config_; }
  [[nodiscard]] CpuSink& sink() const { return sink_; }

  /// Who hears the EOI broadcasts; set before the first vCPU runs.
  void set_eoi_sink(EoiSink* sink) { eoi_sink_.store(sink, std::memory_order_release); }
  void broadcast_eoi(u8 vector) const;

  /// Sends a message; true if a local APIC accepted it.
  bool deliver(const LapicMessage& message);
  /// Sends to every local APIC but `sender`, for the ICR's shorthands.
  bool deliver_others(VcpuId sender, const LapicMessage& message);

  /// MSI (SDM vol. 3, 11.11) with the extended destination id of address bits 11:5. Anything not
  /// an interrupt message is dropped.
  void msi(u64 address, u32 data) override;

  /// Fires a local interrupt (LvtIndex) of one vCPU, or of all (vm_lapic_local_irq). False if there
  /// is no such vCPU or index.
  bool local_irq(VcpuId vcpu, unsigned index);
  bool local_irq_all(unsigned index);

  /// nullptr if there is no such local APIC.
  [[nodiscard]] Vlapic* lapic(VcpuId vcpu) const;

 private:
  friend class Vlapic;
  void attach(VcpuId vcpu, Vlapic& lapic);
  void detach(VcpuId vcpu);

  template <class Function>
  void for_each(Function function) const;
  [[nodiscard]] bool is_broadcast(const LapicMessage& message) const;
  [[nodiscard]] bool matches(const Vlapic& lapic, const LapicMessage& message,
                             bool broadcast) const;
  bool deliver_lowest(const LapicMessage& message);
  bool deliver_to(Vlapic& lapic, const LapicMessage& message) const;

  CpuSink& sink_;
  const LapicConfig config_;
  std::atomic<EoiSink*> eoi_sink_{nullptr};
  std::array<std::atomic<Vlapic*>, max_lapics> lapics_{};
  std::atomic<unsigned> limit_{0};        ///< one above the highest id attached
  std::atomic<unsigned> last_lowest_{0};  ///< who won the last arbitration: ties go round
};

}  // namespace bhyve::intc
