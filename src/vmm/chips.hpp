#pragma once
#include <array>
#include <memory>
#include <vector>

#include "engine/client.hpp"
#include "intc/isa_irq.hpp"
#include "intc/lapic_bus.hpp"
#include "intc/vlapic.hpp"
#include "intc/vlapic_timer.hpp"
#include "timer/vatpit_pio.hpp"
#include "timer/vhpet_mmio.hpp"
#include "timer/vpmtmr.hpp"
#include "timer/vrtc_pio.hpp"

namespace bhyve::vmm {

class Vm;

/// The chips that bhyve keeps in vmm.ko, their wiring and the decode of the accesses that never
/// leave vm_run(): local APICs, I/O APIC, PIC, PIT, HPET, PM timer, RTC. Thread safety: the chips
/// lock themselves; a local APIC's registers belong to its vCPU's thread.
class Chips final {
 public:
  static constexpr Gpa ioapic_base{0xfec0'0000}, hpet_base{0xfed0'0000};
  static constexpr u64 ioapic_size = 0x1000;

  /// `vm` has its vCPUs already.
  explicit Chips(Vm& vm);
  ~Chips();
  Chips(const Chips&) = delete;
  Chips& operator=(const Chips&) = delete;

  [[nodiscard]] intc::Vlapic& lapic(VcpuId id) const { return *lapics_[id]; }
  [[nodiscard]] bool lapic_enabled(VcpuId id) const { return lapics_[id]->enabled(); }
  [[nodiscard]] intc::LapicBus& lapic_bus() { return bus_; }
  [[nodiscard]] intc::VioapicMmio& ioapic() { return ioapic_; }
  [[nodiscard]] intc::VatpicPio& pic() { return pic_; }
  [[nodiscard]] timer::VatpitPio& pit() { return pit_; }
  [[nodiscard]] timer::VhpetMmio& hpet() { return hpet_; }
  [[nodiscard]] timer::VrtcPio& rtc() { return rtc_; }

  /// Makes a pin for an ISA device at `irq` (0..15, not 2): PIC and I/O APIC. Lives as long as
  /// this. Pins are saved in the order in which they were connected.
  [[nodiscard]] intc::IrqPin& connect_isa(unsigned irq);
  /// Makes a pin at input `n` of the I/O APIC, for PCI INTx.
  [[nodiscard]] intc::IrqPin& connect_gsi(unsigned n) { return ioapic_.connect(n); }
  /// IRQ 13: FERR#.
  [[nodiscard]] intc::IrqPin& ferr_pin() { return ferr_; }

  // From a vCPU's thread. False: not ours, the machine's tables decide.
  [[nodiscard]] bool mmio(VcpuId vcpu, Gpa gpa, unsigned size, u64& value, Dir dir);
  [[nodiscard]] bool pio(u16 port, unsigned size, u32& value, Dir dir);
  [[nodiscard]] engine::Client::Access msr(VcpuId vcpu, u32 number, u64& value, Dir dir);

  /// An ExtINT or a vector above the processor priority waits for `vcpu`.
  [[nodiscard]] bool interrupt_pending(VcpuId vcpu) const;
  /// Acknowledges it: the vector, or -1 when it has vanished. `extint`: it came from the PIC.
  [[nodiscard]] int accept_interrupt(VcpuId vcpu, bool& extint);

  /// INIT arrived at the vCPU: its local APIC is reset, APICBASE stays.
  void init_lapic(VcpuId vcpu) { lapics_[vcpu]->reset(intc::Vlapic::Reset::init); }

  // bus::Lifecycle and Persist of all chips together.
  void start();
  void pause();
  void reset();  ///< paused; the RTC keeps its time
  void save(StateWriter& out) const;
  [[nodiscard]] Result<void> load(const StateReader& in);

 private:
  static constexpr u16 port_limit = 0x500;
  struct Ports {
    u16 base, size;
    bus::Pio* chip;
  };

  void map_ports();
  [[nodiscard]] intc::LapicConfig lapic_config();
  [[nodiscard]] timer::VhpetWiring hpet_wiring();
  void tick_taken(bool extint, int vector);
  void lapic_mmio(intc::Vlapic& lapic, u32 offset, unsigned size, u64& value, Dir dir);
  void wire_bsp();

  Vm& vm_;
  intc::LapicBus bus_;
  std::vector<std::unique_ptr<intc::Vlapic>> lapics_;
  intc::VioapicMmio ioapic_;
  intc::VatpicPio pic_;
  intc::IsaIrq irq0_, irq8_, ferr_;
  std::vector<std::unique_ptr<intc::IsaIrq>> isa_;
  timer::VatpitPio pit_;
  timer::VrtcPio rtc_;
  timer::VpmtmrPio pmtmr_;
  timer::VhpetMmio hpet_;
  std::vector<std::unique_ptr<intc::VlapicTimer>> lapic_timers_;
  std::vector<bus::Lifecycle*> lifecycle_;
  std::vector<bus::Persist*> persist_;
  std::vector<Ports> ports_;
  std::array<u8, port_limit> port_index_{};  ///< 1 + index into ports_, 0 = none
};

}  // namespace bhyve::vmm
