#include "intc/lapic_bus.hpp"

#include <utility>

#include "intc/vlapic.hpp"

namespace bhyve::intc {
namespace {

using MsiPrefix = BitRange<63, 20>;
using MsiDestination = BitRange<19, 12>;
using MsiExtended = BitRange<11, 5>;
constexpr u64 msi_prefix = 0xfee;
constexpr u64 msi_redirect = 1u << 3, msi_logical = 1u << 2;

}  // namespace

LapicBus::LapicBus(CpuSink& sink, LapicConfig config) : sink_(sink), config_(std::move(config)) {}

void LapicBus::attach(VcpuId vcpu, Vlapic& lapic) {
  lapics_[vcpu].store(&lapic, std::memory_order_release);
  unsigned limit = limit_.load();
  while (limit <= vcpu && !limit_.compare_exchange_weak(limit, vcpu + 1)) {
  }
}

void LapicBus::detach(VcpuId vcpu) { lapics_[vcpu].store(nullptr, std::memory_order_release); }

Vlapic* LapicBus::lapic(VcpuId vcpu) const {
  return vcpu < max_lapics ? lapics_[vcpu].load(std::memory_order_acquire) : nullptr;
}

template <class Function>
void LapicBus::for_each(Function function) const {
  const unsigned limit = limit_.load(std::memory_order_acquire);
  for (unsigned i = 0; i < limit; ++i) {
    if (Vlapic* lapic = lapics_[i].load(std::memory_order_acquire)) function(*lapic);
  }
}

void LapicBus::broadcast_eoi(u8 vector) const {
  if (EoiSink* sink = eoi_sink_.load(std::memory_order_acquire)) sink->eoi(vector);
}

bool LapicBus::is_broadcast(const LapicMessage& message) const {
  if (message.wide) return message.destination == ~u32{0};
  if (message.destination != 0xff) return false;
  // FFh means everyone, except where a vCPU 255 lives in x2APIC mode: a guest that big addresses
  // single CPUs by the extended destination id and never broadcasts an MSI.
  const Vlapic* lapic = this->lapic(0xff);
  return message.logical || lapic == nullptr || lapic->mode() != Vlapic::Mode::x2apic;
}

bool LapicBus::matches(const Vlapic& lapic, const LapicMessage& message, bool broadcast) const {
  if (lapic.mode() == Vlapic::Mode::disabled) return false;
  if (message.logical) return lapic.matches_logical(message.destination, message.wide);
  return broadcast || lapic.id() == message.destination;
}

bool LapicBus::deliver(const LapicMessage& message) {
  const bool broadcast = is_broadcast(message);
  if (!message.logical && !broadcast) {
    Vlapic* lapic = this->lapic(message.destination);
    return lapic != nullptr && matches(*lapic, message, false) && deliver_to(*lapic, message);
  }
  if (message.redirect || message.mode == DeliveryMode::lowest) return deliver_lowest(message);
  bool accepted = false;
  for_each([&](Vlapic& lapic) {
    if (matches(lapic, message, broadcast)) accepted |= deliver_to(lapic, message);
  });
  return accepted;
}

bool LapicBus::deliver_others(VcpuId sender, const LapicMessage& message) {
  bool accepted = false;
  for_each([&](Vlapic& lapic) {
    if (lapic.id() != sender && lapic.mode() != Vlapic::Mode::disabled)
      accepted |= deliver_to(lapic, message);
  });
  return accepted;
}

bool LapicBus::deliver_lowest(const LapicMessage& message) {
  const bool broadcast = is_broadcast(message);
  const unsigned limit = limit_.load(std::memory_order_acquire);
  const unsigned last = last_lowest_.load(std::memory_order_relaxed);
  Vlapic* best = nullptr;
  for (unsigned n = 1; n <= limit; ++n) {
    Vlapic* lapic = this->lapic((last + n) % limit);
    if (lapic == nullptr || !lapic->enabled() || !matches(*lapic, message, broadcast)) continue;
    if (best == nullptr || lapic->task_priority() < best->task_priority()) best = lapic;
  }
  if (best == nullptr) return false;
  last_lowest_.store(best->id(), std::memory_order_relaxed);
  return deliver_to(*best, message);
}

bool LapicBus::deliver_to(Vlapic& lapic, const LapicMessage& message) const {
  if (message.ipi) lapic.count_ipi();
  switch (message.mode) {
    case DeliveryMode::fixed:
    case DeliveryMode::lowest:
      return lapic.set_irr(message.vector, message.level);
    case DeliveryMode::nmi:
      sink_.nmi(lapic.id());
      return true;
    case DeliveryMode::init:
      sink_.init(lapic.id());
      return true;
    case DeliveryMode::startup:
      sink_.sipi(lapic.id(), message.vector);
      return true;
    case DeliveryMode::extint:
      lapic.post_extint();
      return true;
    case DeliveryMode::smi:  // there is no SMM
    case DeliveryMode::reserved3:
      break;
  }
  return false;
}

void LapicBus::msi(u64 address, u32 data) {
  if (MsiPrefix::get(address) != msi_prefix) return;
  const bool level = (data & icr::level_trigger) != 0;
  if (level && (data & icr::assert_level) == 0) return;
  LapicMessage message;
  message.destination =
      static_cast<u32>(MsiDestination::get(address) | MsiExtended::get(address) << 8);
  // Bit 2 alone chooses the mode; the redirection hint only narrows a logical group to one member
  // (11.11.1). Linux in flat mode sends logical destinations with the hint clear.
  message.logical = (address & msi_logical) != 0;
  message.redirect = message.logical && (address & msi_redirect) != 0;
  message.mode = static_cast<DeliveryMode>(icr::Mode::get(data));
  message.vector = static_cast<u8>(data);
  message.level = level;
  if (message.mode != DeliveryMode::startup) deliver(message);
}

bool LapicBus::local_irq(VcpuId vcpu, unsigned index) {
  Vlapic* target = lapic(vcpu);
  return target != nullptr && target->local_irq(index);
}

bool LapicBus::local_irq_all(unsigned index) {
  if (index >= lvt_count) return false;
  for_each([&](Vlapic& lapic) { lapic.local_irq(index); });
  return true;
}

}  // namespace bhyve::intc
