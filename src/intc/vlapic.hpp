#pragma once
#include <array>
#include <atomic>
#include <mutex>
#include <string>

#include "base/address.hpp"
#include "base/clock.hpp"
#include "base/state.hpp"
#include "intc/lapic_bus.hpp"
#include "intc/lapic_regs.hpp"
#include "intc/lapic_timer.hpp"
#include "intc/vlapic_stats.hpp"

namespace bhyve::intc {

/// Told when a local APIC's timer_deadline() has changed. Any thread; called with no lock held.
class LapicTimerSink {
 public:
  virtual ~LapicTimerSink() = default;
  virtual void timer_changed() = 0;
};

/// A virtual local APIC (SDM vol. 3, chapter 11), xAPIC and x2APIC. The registers are kept as the
/// architectural page, a word of which is an atomic.
///
/// Thread safety: the vCPU's own thread (or any thread while the vCPU does not run) uses every
/// member. Other threads may use those marked "any thread", which take no lock but that of the
/// timer, itself never held while something outside this class is called. IRR, TMR and the pending
/// errors are changed by any thread with locked operations; everything else is written by the owner
/// alone.
class Vlapic final {
 public:
  enum class Mode : u8 { disabled, xapic, x2apic };
  /// INIT keeps APICBASE, and with it the mode; power-up does not (11.4.7).
  enum class Reset : u8 { power_up, init };
  static constexpr Gpa default_base{0xfee0'0000};

  /// Joins the bus as `id` (< LapicBus::max_lapics) in power-up state.
  Vlapic(VcpuId id, LapicBus& bus);
  ~Vlapic();
  Vlapic(const Vlapic&) = delete;
  Vlapic& operator=(const Vlapic&) = delete;

  /// The one place of initialisation.
  void reset(Reset kind = Reset::power_up);
  /// Leaves what firmware leaves on the bootstrap processor (MP spec 3.6.2.2, virtual wire mode):
  /// APIC on, LINT0 = ExtINT, LINT1 = NMI. For kernels that are started without a boot ROM.
  void enter_virtual_wire();

  [[nodiscard]] VcpuId id() const { return id_; }
  [[nodiscard]] Mode mode() const;  ///< any thread
  /// On in APICBASE and in SVR bit 8. Any thread.
  [[nodiscard]] bool enabled() const;

  // Access from the guest. `now` is CLOCK_MONOTONIC.

  /// The register page; `offset` < 4096. An offset that is no multiple of 16 reads 0 and ignores
  /// writes. In x2APIC mode or disabled the page reads as ones.
  [[nodiscard]] u32 mmio_read(u32 offset, Nanos now);
  void mmio_write(u32 offset, u32 value, Nanos now);
  /// MSRs 800h..8FFh; false = #GP.
  [[nodiscard]] bool msr_read(u32 msr, u64& value, Nanos now);
  [[nodiscard]] bool msr_write(u32 msr, u64 value, Nanos now);
  /// IA32_APIC_BASE. False = #GP: reserved bits or an illegal transition (11.12.5). The BSP flag is
  /// read-only.
  [[nodiscard]] bool apic_base_write(u64 value);
  [[nodiscard]] u64 apic_base() const { return apic_base_.load(std::memory_order_relaxed); }
  [[nodiscard]] Gpa mmio_base() const { return Gpa(apic_base()).page(); }  ///< valid in xAPIC mode
  [[nodiscard]] u64 tsc_deadline(Nanos now);
  /// Expires at once if the deadline has passed.
  void set_tsc_deadline(u64 tsc, Nanos now);
  [[nodiscard]] u8 cr8() const { return static_cast<u8>(get(LapicReg::tpr) >> 4 & 0xf); }
  void set_cr8(u8 value);

  // Interrupts.

  /// A vector arrives (edge or level). False if it was not accepted: the APIC is off or the vector
  /// illegal. Any thread, lock-free.
  bool set_irr(u8 vector, bool level);
  /// Highest vector that the PPR lets through, or -1.
  [[nodiscard]] int pending_vector() const;
  /// The CPU takes `vector`, which pending_vector() returned: IRR to ISR.
  void accept(u8 vector);
  /// Fires a local interrupt (LvtIndex). True if it was really sent. Any thread.
  bool fire_lvt(unsigned index);
  /// fire_lvt(), but with the APIC off its pins are INTR (LINT0) and NMI (LINT1). False if there is
  /// no such index. Any thread.
  bool local_irq(unsigned index);
  /// True if the PIC's INTR is let in: the APIC is off in APICBASE, LINT0 is unmasked ExtINT, or an
  /// ExtINT message has come. Any thread.
  [[nodiscard]] bool accepts_extint() const;
  void post_extint();  ///< an ExtINT message arrives. Any thread
  /// The CPU has taken the PIC's vector.
  void extint_accepted() { extint_message_.store(false, std::memory_order_relaxed); }

  // What the bus asks. Any thread.

  [[nodiscard]] bool matches_logical(u32 destination, bool wide) const;
  [[nodiscard]] u8 task_priority() const { return static_cast<u8>(get(LapicReg::tpr)); }

  // Timer.

  void set_timer_sink(LapicTimerSink* sink) { timer_sink_ = sink; }  ///< before the vCPU runs
  /// When timer_expired() is wanted; `never` = off. Any thread.
  [[nodiscard]] Nanos timer_deadline() const { return deadline_.load(std::memory_order_acquire); }
  /// Fires the LVT if due and computes the next deadline. Any thread, at any time.
  void timer_expired(Nanos now);
  /// The callout may be late: what is due comes before whatever the guest finds or changes now.
  void settle_timer(Nanos now) {
    if (timer_deadline() <= now) timer_expired(now);
  }
  /// The guest's TSC was written: the deadline is another point in time now.
  void tsc_changed(Nanos now);

  [[nodiscard]] const VlapicStats& stats() const { return stats_; }  ///< any thread
  /// An IPI of another vCPU, or of this one, was delivered here. Any thread.
  void count_ipi() { stats_.add(VlapicStats::Counter::ipis_received); }

  // Saved state: section "vlapic.N". The bus, the vCPU and the timer are quiet.

  void save(StateWriter& out, Nanos now) const;
  [[nodiscard]] Result<void> load(const StateReader& in, Nanos now);

 private:
  static constexpr unsigned words = 64;  ///< registers of the page up to offset 3F0h

  [[nodiscard]] static usize slot(LapicReg reg, unsigned word = 0) {
    return (static_cast<u32>(reg) >> 4) + word;
  }
  [[nodiscard]] u32 get(LapicReg reg, unsigned word = 0) const {
    return page_[slot(reg, word)].load(std::memory_order_relaxed);
  }
  void put(LapicReg reg, u32 value) { page_[slot(reg)].store(value, std::memory_order_relaxed); }
  [[nodiscard]] bool test_bit(LapicReg reg, u8 vector) const;
  void set_bit(LapicReg reg, u8 vector);
  void clear_bit(LapicReg reg, u8 vector);
  [[nodiscard]] int highest(LapicReg reg) const;  ///< of the eight words, -1 if none

  // vlapic_registers.cpp
  [[nodiscard]] bool readable(LapicReg reg) const;
  [[nodiscard]] u32 read_register(LapicReg reg, Nanos now);
  bool write_register(LapicReg reg, u32 value, Nanos now);
  [[nodiscard]] bool x2_value_legal(LapicReg reg, u64 value) const;
  void write_svr(u32 value);
  void enter_mode(u64 base);
  void update_ppr();
  void lower_ppr();
  void eoi();

  // vlapic_icr.cpp
  void send_ipi(u32 low, u32 destination, bool wide);
  void self_ipi(u8 vector);
  void send_to_self(u8 vector);

  // vlapic_lvt.cpp
  void raise_error(u32 bits);
  bool write_lvt(LapicReg reg, u32 value);
  [[nodiscard]] bool send_lvt(unsigned index);
  [[nodiscard]] bool send_lint0_level(u32 entry);
  void end_lint0(u8 vector);
  void restore_lint0(u32 saved);
  [[nodiscard]] u32 lvt_writable(LapicReg reg) const;

  /// Runs `function` on the timer under its lock, publishes the deadline, then tells the sink.
  template <class Function>
  void with_timer(Function function);

  // vlapic_state.cpp
  struct Saved;
  void apply(const Saved& saved, Nanos now);
  [[nodiscard]] std::string section_name() const;

  const VcpuId id_;
  LapicBus& bus_;
  std::atomic<u64> apic_base_{0};
  std::array<std::atomic<u32>, words> page_{};
  std::atomic<u32> pending_esr_{0};
  std::atomic<bool> extint_message_{false};

  mutable std::mutex timer_lock_;
  LapicTimer timer_;  ///< guarded by timer_lock_
  std::atomic<Nanos> deadline_{never};
  LapicTimerSink* timer_sink_ = nullptr;
  VlapicStats stats_;
};

template <class Function>
void Vlapic::with_timer(Function function) {
  bool changed = false;
  {
    const std::lock_guard lock(timer_lock_);
    function(timer_);
    const Nanos due = timer_.deadline();
    changed = deadline_.exchange(due, std::memory_order_acq_rel) != due;
  }
  if (changed && timer_sink_ != nullptr) timer_sink_->timer_changed();
}

}  // namespace bhyve::intc
