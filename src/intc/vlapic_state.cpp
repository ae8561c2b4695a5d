#include <fmt/format.h>

#include "intc/vlapic.hpp"
#include "x86/msr.hpp"

namespace bhyve::intc {
namespace {

constexpr u32 state_version = 1;
constexpr u64 max_remaining = u64{1} << 39;  ///< 32-bit count, divided by 128

}  // namespace

struct Vlapic::Saved final {
  u64 apic_base = 0;
  u32 pending_esr = 0;
  bool extint = false;
  std::array<u32, words> page{};
  bool running = false;
  u64 remaining = 0;
  u64 tsc_deadline = 0;

  [[nodiscard]] u32 at(LapicReg reg, unsigned word = 0) const { return page[slot(reg, word)]; }
};

std::string Vlapic::section_name() const { return fmt::format("vlapic.{}", id_); }

void Vlapic::save(StateWriter& out, Nanos now) const {
  const std::lock_guard lock(timer_lock_);
  out.section(section_name(), state_version, [&](StateWriter& w) {
    w.put_u64(apic_base());
    w.put_u32(pending_esr_.load());
    w.put_bool(extint_message_.load());
    for (u32 offset = 0; offset < page_size; offset += 16) {
      u32 value = 0;
      if (offset == static_cast<u32>(LapicReg::timer_current)) {
        value = timer_.current_count(now);
      } else if (offset / 16 < words) {
        value = page_[offset / 16].load();
      }
      w.put_u32(value);
      w.put_bytes(std::array<u8, 12>{});
    }
    w.put_bool(timer_.running());
    w.put_u64(timer_.running() ? timer_.remaining_ticks(now) : 0);
    w.put_u64(timer_.tsc_deadline());
  });
}

Result<void> Vlapic::load(const StateReader& in, Nanos now) {
  Saved saved;
  auto result = in.section(section_name(), state_version, [&](StateSection& r) {
    saved.apic_base = r.get_u64();
    saved.pending_esr = r.get_u32();
    saved.extint = r.get_bool();
    for (u32 i = 0; i < page_size / 16; ++i) {
      std::array<u8, 12> padding;
      const u32 value = r.get_u32();
      r.get_bytes(padding);
      if (i < words) saved.page[i] = value;
    }
    saved.running = r.get_bool();
    saved.remaining = r.get_u64();
    saved.tsc_deadline = r.get_u64();
    const u64 base = saved.apic_base;
    const bool x2_alone = (base & x86::msr::apic_base_x2apic) != 0 &&
                          (base & x86::msr::apic_base_enable) == 0;
    const u64 known = (bit(bus_.config().physical_bits) - 1 - page_mask) |
                      x86::msr::apic_base_bsp | x86::msr::apic_base_enable |
                      (bus_.config().x2apic ? x86::msr::apic_base_x2apic : 0);
    if ((base & ~known) != 0 || x2_alone || saved.remaining > max_remaining) r.reject();
  });
  reset(Reset::power_up);
  if (result) apply(saved, now);
  return result;
}

/// Takes over what was saved; whatever the guest could not have written is masked off or derived
/// anew.
void Vlapic::apply(const Saved& saved, Nanos now) {
  apic_base_.store(saved.apic_base, std::memory_order_relaxed);
  put(LapicReg::ldr, saved.at(LapicReg::ldr) & 0xff00'0000);
  enter_mode(saved.apic_base);
  put(LapicReg::svr, saved.at(LapicReg::svr) & svr::writable);
  put(LapicReg::tpr, saved.at(LapicReg::tpr) & 0xff);
  put(LapicReg::dfr, saved.at(LapicReg::dfr) | 0x0fff'ffff);
  put(LapicReg::esr, saved.at(LapicReg::esr) & 0xff);
  put(LapicReg::icr_low,
      saved.at(LapicReg::icr_low) & ~(icr::delivery_status | icr::reserved));
  put(LapicReg::icr_high, saved.at(LapicReg::icr_high));
  for (const LapicReg bank : {LapicReg::isr, LapicReg::tmr, LapicReg::irr}) {
    for (unsigned word = 0; word < 8; ++word) {
      const u32 legal = word == 0 ? 0xffff'0000 : ~u32{0};
      page_[slot(bank, word)].store(saved.at(bank, word) & legal, std::memory_order_relaxed);
    }
  }
  for (const LapicReg reg :
       {LapicReg::lvt_cmci, LapicReg::lvt_timer, LapicReg::lvt_thermal, LapicReg::lvt_perf,
        LapicReg::lvt_lint0, LapicReg::lvt_lint1, LapicReg::lvt_error})
    write_lvt(reg, saved.at(reg));
  restore_lint0(saved.at(LapicReg::lvt_lint0));
  pending_esr_.store(saved.pending_esr & 0xff, std::memory_order_relaxed);
  extint_message_.store(saved.extint, std::memory_order_relaxed);
  update_ppr();
  put(LapicReg::timer_divide, saved.at(LapicReg::timer_divide) & 0xb);
  with_timer([&](LapicTimer& timer) {
    timer.set_divide(saved.at(LapicReg::timer_divide), now);
    const u32 initial = saved.at(LapicReg::timer_initial);
    if (saved.running) {
      timer.resume(initial, saved.remaining, now);
    }
    put(LapicReg::timer_initial, initial);
  });
  if (saved.tsc_deadline != 0) set_tsc_deadline(saved.tsc_deadline, now);
}

}  // namespace bhyve::intc
