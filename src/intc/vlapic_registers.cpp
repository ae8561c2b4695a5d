#include "intc/vlapic.hpp"
#include "x86/msr.hpp"

namespace bhyve::intc {
namespace {

constexpr u32 page_end = 0x400;

[[nodiscard]] LapicReg reg_of_msr(u32 msr) {
  return static_cast<LapicReg>((msr - x86::msr::x2apic_first) << 4);
}

}  // namespace

u32 Vlapic::mmio_read(u32 offset, Nanos now) {
  if (mode() != Mode::xapic) return ~u32{0};
  if (offset % 16 != 0) return 0;
  const auto reg = static_cast<LapicReg>(offset);
  if (readable(reg)) return read_register(reg, now);
  if (reg != LapicReg::eoi) raise_error(esr::illegal_register);
  return 0;
}

void Vlapic::mmio_write(u32 offset, u32 value, Nanos now) {
  if (mode() != Mode::xapic || offset % 16 != 0) return;
  const auto reg = static_cast<LapicReg>(offset);
  if (reg == LapicReg::self_ipi || !write_register(reg, value, now)) {
    // Writes of registers that are only read are dropped without an error.
    if (!readable(reg)) raise_error(esr::illegal_register);
  }
}

bool Vlapic::readable(LapicReg reg) const {
  switch (reg) {
    case LapicReg::apr:
    case LapicReg::rrr:
    case LapicReg::dfr:
    case LapicReg::icr_high:
      return mode() == Mode::xapic;
    case LapicReg::id:
    case LapicReg::version:
    case LapicReg::tpr:
    case LapicReg::ppr:
    case LapicReg::ldr:
    case LapicReg::svr:
    case LapicReg::esr:
    case LapicReg::lvt_cmci:
    case LapicReg::icr_low:
    case LapicReg::lvt_timer:
    case LapicReg::lvt_thermal:
    case LapicReg::lvt_perf:
    case LapicReg::lvt_lint0:
    case LapicReg::lvt_lint1:
    case LapicReg::lvt_error:
    case LapicReg::timer_initial:
    case LapicReg::timer_current:
    case LapicReg::timer_divide:
      return true;
    default:
      return reg >= LapicReg::isr && reg < LapicReg::esr;
  }
}

u32 Vlapic::read_register(LapicReg reg, Nanos now) {
  if (reg != LapicReg::timer_current) return get(reg);
  settle_timer(now);
  const std::lock_guard lock(timer_lock_);
  return timer_.current_count(now);
}

/// False if `reg` cannot be written. The value has passed x2_value_legal() in x2APIC mode.
bool Vlapic::write_register(LapicReg reg, u32 value, Nanos now) {
  switch (reg) {
    case LapicReg::tpr:
      put(reg, value & 0xff);
      lower_ppr();
      return true;
    case LapicReg::eoi:
      eoi();
      return true;
    case LapicReg::ldr:
      put(reg, value & 0xff00'0000);
      return true;
    case LapicReg::dfr:
      put(reg, value | 0x0fff'ffff);
      return true;
    case LapicReg::svr:
      settle_timer(now);
      write_svr(value);
      return true;
    case LapicReg::esr:
      put(reg, pending_esr_.exchange(0));
      return true;
    case LapicReg::icr_high:
      put(reg, value & 0xff00'0000);
      return true;
    case LapicReg::icr_low:
      put(reg, value & ~(icr::delivery_status | icr::reserved));
      send_ipi(value, get(LapicReg::icr_high) >> 24, false);
      return true;
    case LapicReg::timer_initial:
      settle_timer(now);
      with_timer([&](LapicTimer& timer) {
        timer.set_initial_count(value, now);
        put(reg, timer.initial_count());
      });
      return true;
    case LapicReg::timer_divide:
      settle_timer(now);
      put(reg, value & 0xb);
      with_timer([&](LapicTimer& timer) { timer.set_divide(value, now); });
      return true;
    case LapicReg::self_ipi:
      self_ipi(static_cast<u8>(value));
      return true;
    case LapicReg::lvt_timer:
      settle_timer(now);
      return write_lvt(reg, value);
    default:
      return write_lvt(reg, value);
  }
}

void Vlapic::write_svr(u32 value) {
  put(LapicReg::svr, value & svr::writable);
  if ((value & svr::enable) != 0) return;
  // Software disable masks every local interrupt; enabling does not unmask (11.4.7.2).
  for (const LapicReg reg :
       {LapicReg::lvt_cmci, LapicReg::lvt_timer, LapicReg::lvt_thermal, LapicReg::lvt_perf,
        LapicReg::lvt_lint0, LapicReg::lvt_lint1, LapicReg::lvt_error})
    page_[slot(reg)].fetch_or(lvt::mask, std::memory_order_relaxed);
}

bool Vlapic::msr_read(u32 msr, u64& value, Nanos now) {
  if (mode() != Mode::x2apic || msr < x86::msr::x2apic_first || msr > x86::msr::x2apic_last)
    return false;
  const LapicReg reg = reg_of_msr(msr);
  if (!readable(reg)) return false;
  value = read_register(reg, now);
  if (reg == LapicReg::icr_low) value |= u64{get(LapicReg::icr_high)} << 32;
  return true;
}

bool Vlapic::msr_write(u32 msr, u64 value, Nanos now) {
  if (mode() != Mode::x2apic || msr < x86::msr::x2apic_first || msr > x86::msr::x2apic_last)
    return false;
  const LapicReg reg = reg_of_msr(msr);
  if (!x2_value_legal(reg, value)) return false;
  if (reg != LapicReg::icr_low) return write_register(reg, static_cast<u32>(value), now);
  const u32 low = static_cast<u32>(value) & ~icr::delivery_status;
  const u32 destination = static_cast<u32>(value >> 32);
  put(LapicReg::icr_low, low);
  put(LapicReg::icr_high, destination);
  send_ipi(low, destination, true);
  return true;
}

/// Whether a WRMSR may write `value` (11.12.1.2, table 11-6): registers that are read-only or
/// absent take none, and reserved bits must be clear.
bool Vlapic::x2_value_legal(LapicReg reg, u64 value) const {
  if (reg == LapicReg::icr_low) return (value & icr::reserved) == 0;
  if (static_cast<u32>(reg) >= page_end || value >> 32 != 0) return false;
  switch (reg) {
    case LapicReg::tpr:
    case LapicReg::self_ipi:
      return value <= 0xff;
    case LapicReg::eoi:
    case LapicReg::esr:
      return value == 0;
    case LapicReg::svr:
      return (value & ~u64{svr::writable}) == 0;
    case LapicReg::timer_divide:
      return (value & ~u64{0xb}) == 0;
    case LapicReg::timer_initial:
      return true;
    case LapicReg::lvt_lint0:
    case LapicReg::lvt_lint1:
      return (value & ~u64{lvt_writable(reg) | lvt::delivery_status | lvt::remote_irr}) == 0;
    case LapicReg::lvt_cmci:
    case LapicReg::lvt_timer:
    case LapicReg::lvt_thermal:
    case LapicReg::lvt_perf:
    case LapicReg::lvt_error:
      return (value & ~u64{lvt_writable(reg) | lvt::delivery_status}) == 0;
    default:
      return false;
  }
}

}  // namespace bhyve::intc
