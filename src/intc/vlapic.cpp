#include "intc/vlapic.hpp"

#include <bit>

#include "x86/msr.hpp"

namespace bhyve::intc {

namespace msr = x86::msr;

Vlapic::Vlapic(VcpuId id, LapicBus& bus) : id_(id), bus_(bus), timer_(bus.config().timer_hz) {
  reset(Reset::power_up);
  bus_.attach(id_, *this);
}

Vlapic::~Vlapic() { bus_.detach(id_); }

void Vlapic::reset(Reset kind) {
  if (kind == Reset::power_up) {
    apic_base_.store(default_base.value() | msr::apic_base_enable |
                         (id_ == 0 ? msr::apic_base_bsp : 0) |
                         (bus_.config().start_in_x2apic ? msr::apic_base_x2apic : 0),
                     std::memory_order_relaxed);
  }
  put(LapicReg::svr, svr::reset);  // off first: nothing new enters the IRR
  for (unsigned i = 0; i < words; ++i) {
    if (i != slot(LapicReg::svr)) page_[i].store(0, std::memory_order_relaxed);
  }
  put(LapicReg::version, lapic_version);
  put(LapicReg::dfr, ~u32{0});
  for (const LapicReg reg :
       {LapicReg::lvt_cmci, LapicReg::lvt_timer, LapicReg::lvt_thermal, LapicReg::lvt_perf,
        LapicReg::lvt_lint0, LapicReg::lvt_lint1, LapicReg::lvt_error})
    put(reg, lvt::reset);
  pending_esr_.store(0, std::memory_order_relaxed);
  extint_message_.store(false, std::memory_order_relaxed);
  enter_mode(apic_base());
  with_timer([](LapicTimer& timer) { timer.reset(); });
}

void Vlapic::enter_virtual_wire() {
  put(LapicReg::svr, svr::reset | svr::enable);
  put(LapicReg::lvt_lint0, static_cast<u32>(lvt::Mode::make(
                               static_cast<u64>(DeliveryMode::extint))));
  put(LapicReg::lvt_lint1, static_cast<u32>(lvt::Mode::make(static_cast<u64>(DeliveryMode::nmi))));
}

Vlapic::Mode Vlapic::mode() const {
  const u64 base = apic_base();
  if ((base & msr::apic_base_enable) == 0) return Mode::disabled;
  return (base & msr::apic_base_x2apic) != 0 ? Mode::x2apic : Mode::xapic;
}

bool Vlapic::enabled() const {
  return mode() != Mode::disabled && (get(LapicReg::svr) & svr::enable) != 0;
}

bool Vlapic::apic_base_write(u64 value) {
  const u64 address_mask = bit(bus_.config().physical_bits) - 1 - page_mask;
  const u64 flags = msr::apic_base_bsp | msr::apic_base_enable |
                    (bus_.config().x2apic ? msr::apic_base_x2apic : 0);
  if ((value & ~(address_mask | flags)) != 0) return false;
  const bool enable = (value & msr::apic_base_enable) != 0;
  const bool x2apic = (value & msr::apic_base_x2apic) != 0;
  const Mode from = mode();
  if (x2apic && !enable) return false;
  if (x2apic && from == Mode::disabled) return false;
  if (enable && !x2apic && from == Mode::x2apic) return false;
  const u64 base = (value & ~msr::apic_base_bsp) | (apic_base() & msr::apic_base_bsp);
  apic_base_.store(base, std::memory_order_relaxed);
  if (from == mode()) return true;
  // Whoever turns the APIC off loses its state (11.4.3): it comes back as after INIT.
  if (!enable) {
    reset(Reset::init);
  } else {
    enter_mode(base);
  }
  return true;
}

void Vlapic::enter_mode(u64 base) {
  if ((base & msr::apic_base_x2apic) != 0) {
    put(LapicReg::id, id_);
    put(LapicReg::ldr, (id_ >> 4) << 16 | 1u << (id_ & 0xf));
    put(LapicReg::icr_high, 0);
  } else {
    put(LapicReg::id, id_ << 24);
  }
}

bool Vlapic::test_bit(LapicReg reg, u8 vector) const {
  return (get(reg, vector / 32u) >> vector % 32 & 1) != 0;
}

void Vlapic::set_bit(LapicReg reg, u8 vector) {
  page_[slot(reg, vector / 32u)].fetch_or(1u << vector % 32);
}

void Vlapic::clear_bit(LapicReg reg, u8 vector) {
  page_[slot(reg, vector / 32u)].fetch_and(~(1u << vector % 32));
}

int Vlapic::highest(LapicReg reg) const {
  for (unsigned word = 8; word-- > 0;) {
    if (const u32 bits = get(reg, word); bits != 0)
      return static_cast<int>(word * 32) + std::bit_width(bits) - 1;
  }
  return -1;
}

bool Vlapic::set_irr(u8 vector, bool level) {
  if (!enabled()) return false;
  if (vector < first_legal_vector) {
    raise_error(esr::receive_illegal_vector);
    return false;
  }
  // The trigger mode is in place before the request can be seen, for the EOI to find.
  if (test_bit(LapicReg::tmr, vector) != level) {
    if (level) {
      set_bit(LapicReg::tmr, vector);
    } else {
      clear_bit(LapicReg::tmr, vector);
    }
  }
  const u32 mask = 1u << vector % 32;
  const u32 before = page_[slot(LapicReg::irr, vector / 32u)].fetch_or(mask);
  // A vector already requested has been announced by whoever requested it.
  if ((before & mask) == 0) bus_.sink().notify(id_);
  return true;
}

int Vlapic::pending_vector() const {
  if (mode() == Mode::disabled) return -1;
  const int vector = highest(LapicReg::irr);
  if (vector < 0 || static_cast<u32>(vector) >> 4 <= get(LapicReg::ppr) >> 4) return -1;
  return vector;
}

void Vlapic::accept(u8 vector) {
  clear_bit(LapicReg::irr, vector);
  set_bit(LapicReg::isr, vector);
  update_ppr();
}

void Vlapic::update_ppr() {
  const int serving = highest(LapicReg::isr);
  const u32 isrv = serving < 0 ? 0 : static_cast<u32>(serving);
  const u32 tpr = get(LapicReg::tpr);
  put(LapicReg::ppr, tpr >> 4 >= isrv >> 4 ? tpr : isrv & 0xf0);
}

/// What was held back may be deliverable now: the CPU has looked before and must look again.
void Vlapic::lower_ppr() {
  update_ppr();
  if (pending_vector() >= 0) bus_.sink().notify(id_);
}

void Vlapic::set_cr8(u8 value) {
  put(LapicReg::tpr, (value & 0xfu) << 4);
  lower_ppr();
}

void Vlapic::eoi() {
  const int vector = highest(LapicReg::isr);
  if (vector < 0) return stats_.add(VlapicStats::Counter::spurious_eoi);
  const u8 v = static_cast<u8>(vector);
  clear_bit(LapicReg::isr, v);
  lower_ppr();
  end_lint0(v);
  if (test_bit(LapicReg::tmr, v) && (get(LapicReg::svr) & svr::suppress_eoi) == 0)
    bus_.broadcast_eoi(v);
}

bool Vlapic::matches_logical(u32 destination, bool wide) const {
  const u32 ldr = get(LapicReg::ldr);
  switch (mode()) {
    case Mode::disabled:
      return false;
    case Mode::x2apic:
      if (wide && destination == ~u32{0}) return true;
      return ldr >> 16 == destination >> 16 && (ldr & destination & 0xffff) != 0;
    case Mode::xapic:
      break;
  }
  if (destination == (wide ? ~u32{0} : 0xff)) return true;
  if (destination > 0xff) return false;
  const u32 mine = ldr >> 24;
  switch (get(LapicReg::dfr) >> 28) {
    case 0xf:  // flat
      return (mine & destination) != 0;
    case 0:  // cluster
      return mine >> 4 == destination >> 4 && (mine & destination & 0xf) != 0;
    default:
      return false;
  }
}

}  // namespace bhyve::intc
