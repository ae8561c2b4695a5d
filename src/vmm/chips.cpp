#include "vmm/chips.hpp"

#include <algorithm>

#include "timer/tsc.hpp"
#include "vmm/vm.hpp"
#include "x86/msr.hpp"

namespace bhyve::vmm {

using Access = engine::Client::Access;

Chips::Chips(Vm& vm)
    : vm_(vm),
      bus_(vm, lapic_config()),
      ioapic_(bus_),
      pic_(vm),
      irq0_(pic_, ioapic_, 0),
      irq8_(pic_, ioapic_, 8),
      ferr_(pic_, ioapic_, 13),
      pit_(vm.callouts(), irq0_),
      rtc_(vm.callouts(), irq8_, timer::rtc_time_of_host(!vm.config().rtc_localtime)),
      hpet_(vm.callouts(), timer::Vhpet::allowed_routes(ioapic_.pins()), hpet_wiring()) {
  lifecycle_ = {&ioapic_, &pic_, &pit_, &rtc_, &pmtmr_, &hpet_};
  persist_ = {&ioapic_, &pic_, &pit_, &rtc_, &pmtmr_, &hpet_};
  for (VcpuId id = 0; id < vm.vcpu_count(); ++id) {
    lapics_.push_back(std::make_unique<intc::Vlapic>(id, bus_));
    lapic_timers_.push_back(std::make_unique<intc::VlapicTimer>(*lapics_[id], vm.callouts()));
    lifecycle_.push_back(lapic_timers_.back().get());
    persist_.push_back(lapic_timers_.back().get());
  }
  pic_.connect_output(ioapic_.connect(0));
  rtc_.set_memory_size(vm.config().lowmem, vm.config().highmem);
  map_ports();
  wire_bsp();
}

Chips::~Chips() = default;

intc::LapicConfig Chips::lapic_config() {
  const VmConfig& config = vm_.config();
  intc::LapicConfig result;
  result.timer_hz = config.lapic_timer_hz;
  result.physical_bits = config.physical_bits;
  result.x2apic = config.x2apic;
  result.start_in_x2apic = config.x2apic && config.start_in_x2apic;
  result.tsc_deadline = config.tsc_deadline;
  result.tsc_to_nanos = [this](u64 tsc, VcpuId vcpu) {
    const timer::GuestTsc guest{.offset = vm_.vcpu(vcpu).tsc_offset()};
    // One that has passed is at the beginning of time, so that it expires at once.
    if (tsc <= guest.from_host(timer::TscClock::host_now())) return Nanos{0};
    return timer::deadline_from_guest_tsc(vm_.tsc(), guest, tsc);
  };
  return result;
}

timer::VhpetWiring Chips::hpet_wiring() {
  timer::VhpetWiring wiring;
  const unsigned pins =
      std::min<unsigned>(ioapic_.pins(), static_cast<unsigned>(wiring.pins.size()));
  const u32 routes = timer::Vhpet::allowed_routes(ioapic_.pins());
  for (unsigned n = 0; n < pins; ++n) {
    if (routes >> n & 1) wiring.pins[n] = &ioapic_.connect(n);
  }
  wiring.legacy_irq0 = &connect_isa(0);
  wiring.legacy_irq8 = &connect_isa(8);
  wiring.msi = &bus_;
  wiring.legacy_changed = [this](bool legacy) {
    pit_.set_irq_enabled(!legacy);
    rtc_.set_irq_enabled(!legacy);
  };
  return wiring;
}

void Chips::map_ports() {
  ports_ = {{0x20, 2, &pic_.master_ports()},
            {0xa0, 2, &pic_.slave_ports()},
            {0x4d0, 2, &pic_.elcr_ports()},
            {0x40, 4, &pit_},
            {0x61, 1, &pit_.speaker()},
            {0x70, 4, &rtc_},
            {0x408, 4, &pmtmr_}};
  for (usize i = 0; i < ports_.size(); ++i) {
    for (u16 n = 0; n < ports_[i].size; ++n)
      port_index_[ports_[i].base + n] = static_cast<u8>(i + 1);
  }
}

/// Without a boot ROM nobody else would let the PIC through.
void Chips::wire_bsp() {
  if (vm_.config().virtual_wire) lapics_.front()->enter_virtual_wire();
}

intc::IrqPin& Chips::connect_isa(unsigned irq) {
  isa_.push_back(std::make_unique<intc::IsaIrq>(pic_, ioapic_, irq));
  return *isa_.back();
}

/// Registers are 32 bits wide at multiples of 16 (SDM vol. 3, 11.4.1). Narrow reads give the bytes
/// asked for, wide ones zeros beyond the register; other writes than whole ones are dropped.
void Chips::lapic_mmio(intc::Vlapic& lapic, u32 offset, unsigned size, u64& value, Dir dir) {
  const u32 within = offset & 0xf;
  if (dir == Dir::write) {
    if (size == 4 && within == 0)
      lapic.mmio_write(offset, static_cast<u32>(value), monotonic_now());
    return;
  }
  if (within >= 4) {
    value = 0;
    return;
  }
  const u64 reg = lapic.mmio_read(offset - within, monotonic_now());
  value = reg >> (8 * within);
  if (size < 8) value &= bit(8 * size) - 1;
}

bool Chips::mmio(VcpuId vcpu, Gpa gpa, unsigned size, u64& value, Dir dir) {
  intc::Vlapic& lapic = *lapics_[vcpu];
  if (lapic.mode() == intc::Vlapic::Mode::xapic && gpa.page() == lapic.mmio_base()) {
    lapic_mmio(lapic, static_cast<u32>(gpa.page_offset()), size, value, dir);
    return true;
  }
  bus::Mmio* chip = nullptr;
  u64 offset = 0;
  if (gpa >= ioapic_base && gpa - ioapic_base < ioapic_size) {
    chip = &ioapic_;
    offset = gpa - ioapic_base;
  } else if (gpa >= hpet_base && gpa - hpet_base + size <= timer::Vhpet::register_space) {
    chip = &hpet_;
    offset = gpa - hpet_base;
  } else {
    return false;
  }
  if (dir == Dir::write)
    chip->mmio_write(offset, size, value, vcpu);
  else
    value = chip->mmio_read(offset, size, vcpu);
  return true;
}

bool Chips::pio(u16 port, unsigned size, u32& value, Dir dir) {
  if (port >= port_limit || port_index_[port] == 0) return false;
  const Ports& range = ports_[port_index_[port] - 1u];
  const u16 offset = static_cast<u16>(port - range.base);
  if (offset + size > range.size) return false;
  if (dir == Dir::write)
    range.chip->pio_write(offset, size, value);
  else
    value = range.chip->pio_read(offset, size);
  return true;
}

Access Chips::msr(VcpuId vcpu, u32 number, u64& value, Dir dir) {
  namespace msr = x86::msr;
  intc::Vlapic& lapic = *lapics_[vcpu];
  const bool write = dir == Dir::write;
  const auto answer = [](bool legal) { return legal ? Access::done : Access::fault; };
  if (number >= msr::x2apic_first && number <= msr::x2apic_last) {
    return answer(write ? lapic.msr_write(number, value, monotonic_now())
                        : lapic.msr_read(number, value, monotonic_now()));
  }
  if (number == msr::apic_base) {
    if (write) return answer(lapic.apic_base_write(value));
    value = lapic.apic_base();
    return Access::done;
  }
  if (number == msr::tsc_deadline && vm_.config().tsc_deadline) {
    if (write)
      lapic.set_tsc_deadline(value, monotonic_now());
    else
      value = lapic.tsc_deadline(monotonic_now());
    return Access::done;
  }
  return Access::exit;
}

bool Chips::interrupt_pending(VcpuId vcpu) const {
  const intc::Vlapic& lapic = *lapics_[vcpu];
  return (pic_.intr() && lapic.accepts_extint()) || lapic.pending_vector() >= 0;
}

int Chips::accept_interrupt(VcpuId vcpu, bool& extint) {
  intc::Vlapic& lapic = *lapics_[vcpu];
  int vector = -1;
  if (pic_.intr() && lapic.accepts_extint()) {
    vector = pic_.acknowledge();
    extint = vector >= 0;
    if (extint) lapic.extint_accepted();
  }
  if (!extint) {
    vector = lapic.pending_vector();
    if (vector >= 0) lapic.accept(static_cast<u8>(vector));
  }
  if (pit_.tick_outstanding() || hpet_.tick_outstanding()) tick_taken(extint, vector);
  return vector;
}

/// IRQ 0 is the first input of the PIC, whose vectors begin at a multiple of 8.
void Chips::tick_taken(bool extint, int vector) {
  const int tick = ioapic_.vector(intc::IsaIrq::ioapic_input(0));
  if (extint ? vector % 8 != 0 : vector != tick) return;
  pit_.irq_taken();
  hpet_.irq_taken();
}

void Chips::start() {
  for (bus::Lifecycle* chip : lifecycle_) chip->start();
}

void Chips::pause() {
  for (bus::Lifecycle* chip : lifecycle_) chip->pause();
}

void Chips::reset() {
  for (bus::Lifecycle* chip : lifecycle_) chip->reset();
  wire_bsp();
}

void Chips::save(StateWriter& out) const {
  for (const bus::Persist* chip : persist_) chip->save(out);
}

Result<void> Chips::load(const StateReader& in) {
  for (bus::Persist* chip : persist_) {
    if (auto loaded = chip->load(in); !loaded) return loaded;
  }
  return {};
}

}  // namespace bhyve::vmm
