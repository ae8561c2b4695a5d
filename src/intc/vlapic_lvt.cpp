#include <algorithm>
#include <array>

#include "intc/vlapic.hpp"

namespace bhyve::intc {
namespace {

constexpr std::array<LapicReg, lvt_count> lvt_registers{
    LapicReg::lvt_lint0, LapicReg::lvt_lint1, LapicReg::lvt_timer, LapicReg::lvt_error,
    LapicReg::lvt_perf,  LapicReg::lvt_thermal, LapicReg::lvt_cmci};

/// Fixed and level-triggered. Of the entries only LINT0 can be (11.5.1): LINT1 is always an edge.
[[nodiscard]] bool is_level(u32 entry) {
  return (entry & lvt::level_trigger) != 0 &&
         lvt::Mode::get(entry) == static_cast<u64>(DeliveryMode::fixed);
}

}  // namespace

u32 Vlapic::lvt_writable(LapicReg reg) const {
  constexpr u32 common = lvt::mask | static_cast<u32>(lvt::Vector::mask);
  constexpr u32 polarity = 1u << 13;
  switch (reg) {
    case LapicReg::lvt_timer:
      return common | (bus_.config().tsc_deadline ? 3u : 1u) << 17;
    case LapicReg::lvt_error:
      return common;
    case LapicReg::lvt_lint0:
    case LapicReg::lvt_lint1:
      return common | static_cast<u32>(lvt::Mode::mask) | polarity | lvt::level_trigger;
    default:
      return common | static_cast<u32>(lvt::Mode::mask);
  }
}

/// False if `reg` is no entry of the LVT.
bool Vlapic::write_lvt(LapicReg reg, u32 value) {
  if (std::ranges::find(lvt_registers, reg) == lvt_registers.end()) return false;
  value &= lvt_writable(reg);
  if ((get(LapicReg::svr) & svr::enable) == 0) value |= lvt::mask;
  // A level interrupt that is in service stays so, unless the entry can have none any more.
  const u32 kept = reg == LapicReg::lvt_lint0 && is_level(value) ? lvt::remote_irr : 0;
  std::atomic<u32>& entry = page_[slot(reg)];
  u32 before = entry.load(std::memory_order_relaxed);
  while (!entry.compare_exchange_weak(before, value | (before & kept))) {
  }
  // It may let in what the PIC asks for already.
  if (reg == LapicReg::lvt_lint0 && accepts_extint()) bus_.sink().notify(id_);
  if (reg != LapicReg::lvt_timer) return true;
  with_timer([&](LapicTimer& timer) {
    timer.set_mode(static_cast<LapicTimer::Mode>(lvt::TimerMode::get(value)));
    put(LapicReg::timer_initial, timer.initial_count());
  });
  return true;
}

bool Vlapic::fire_lvt(unsigned index) {
  if (index >= lvt_count || mode() == Mode::disabled || !send_lvt(index)) return false;
  using enum VlapicStats::Counter;
  stats_.add_lvt(index);
  if (index == static_cast<unsigned>(LvtIndex::timer)) stats_.add(timer);
  if (index == static_cast<unsigned>(LvtIndex::error)) stats_.add(errors);
  if (index == static_cast<unsigned>(LvtIndex::cmci)) stats_.add(cmci);
  return true;
}

/// The entry as it is programmed; true if something was sent.
bool Vlapic::send_lvt(unsigned index) {
  const LapicReg reg = lvt_registers[index];
  const u32 entry = get(reg);
  if ((entry & lvt::mask) != 0) return false;
  // The APIC masks the performance entry itself when it fires (11.5.1).
  if (reg == LapicReg::lvt_perf) page_[slot(reg)].fetch_or(lvt::mask, std::memory_order_relaxed);
  // Timer and error entries have no mode bits: write_lvt() keeps them fixed.
  switch (static_cast<DeliveryMode>(lvt::Mode::get(entry))) {
    case DeliveryMode::fixed:
      if (reg == LapicReg::lvt_lint0 && is_level(entry)) return send_lint0_level(entry);
      return set_irr(static_cast<u8>(lvt::Vector::get(entry)), false);
    case DeliveryMode::nmi:
      bus_.sink().nmi(id_);
      return true;
    case DeliveryMode::extint:
      post_extint();
      return true;
    default:
      return false;
  }
}

/// Remote IRR is set first, for the EOI of a vCPU that is very quick to find it.
bool Vlapic::send_lint0_level(u32 entry) {
  auto& lint0 = page_[slot(LapicReg::lvt_lint0)];
  if ((lint0.fetch_or(lvt::remote_irr) & lvt::remote_irr) != 0) return false;
  if (set_irr(static_cast<u8>(lvt::Vector::get(entry)), true)) return true;
  lint0.fetch_and(~lvt::remote_irr);
  return false;
}

/// The EOI of LINT0's level interrupt lets the next one in (11.5.1).
void Vlapic::end_lint0(u8 vector) {
  const u32 entry = get(LapicReg::lvt_lint0);
  if ((entry & lvt::remote_irr) != 0 && lvt::Vector::get(entry) == vector)
    page_[slot(LapicReg::lvt_lint0)].fetch_and(~lvt::remote_irr);
}

void Vlapic::restore_lint0(u32 saved) {
  if (is_level(get(LapicReg::lvt_lint0)))
    page_[slot(LapicReg::lvt_lint0)].fetch_or(saved & lvt::remote_irr);
}

bool Vlapic::local_irq(unsigned index) {
  if (index >= lvt_count) return false;
  if (enabled()) {
    fire_lvt(index);
  } else if (index == static_cast<unsigned>(LvtIndex::lint0)) {
    post_extint();
  } else if (index == static_cast<unsigned>(LvtIndex::lint1)) {
    bus_.sink().nmi(id_);
  }
  return true;
}

bool Vlapic::accepts_extint() const {
  if (extint_message_.load(std::memory_order_relaxed) || mode() == Mode::disabled) return true;
  const u32 entry = get(LapicReg::lvt_lint0);
  return (entry & lvt::mask) == 0 &&
         lvt::Mode::get(entry) == static_cast<u64>(DeliveryMode::extint);
}

void Vlapic::post_extint() {
  extint_message_.store(true, std::memory_order_relaxed);
  bus_.sink().extint(id_);
}

void Vlapic::raise_error(u32 bits) {
  pending_esr_.fetch_or(bits);
  const u32 entry = get(LapicReg::lvt_error);
  if ((entry & lvt::mask) != 0) return;
  // An illegal vector in the ERROR entry is one more error, but must not report itself for ever.
  if (lvt::Vector::get(entry) < first_legal_vector) {
    pending_esr_.fetch_or(esr::receive_illegal_vector);
  } else {
    fire_lvt(static_cast<unsigned>(LvtIndex::error));
  }
}

}  // namespace bhyve::intc
