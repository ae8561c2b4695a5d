#include "intc/vioapic.hpp"

#include <utility>

namespace bhyve::intc {
namespace {

enum Index : u8 { index_id = 0, index_version = 1, index_arbitration = 2, index_table = 0x10 };

constexpr u32 id_mask = 0xff00'0000;
constexpr u32 version = 0x20;

// Redirection table entry (82093AA, 3.2.4); 55:49 is the extended destination id.
using Vector = BitRange<7, 0>;
using Mode = BitRange<10, 8>;
using Destination = BitRange<63, 56>;
using Extended = BitRange<55, 49>;
constexpr u64 logical = bit(11), delivery_status = bit(12), remote_irr = bit(14),
              level_mode = bit(15), masked = bit(16);
constexpr u64 writable_low = 0x1'ffff & ~(delivery_status | remote_irr);
constexpr u64 writable_high = Destination::mask | Extended::mask;

/// NMI, INIT and ExtINT are edge-triggered whatever bit 15 says.
[[nodiscard]] bool is_level(u64 entry) {
  const auto mode = static_cast<DeliveryMode>(Mode::get(entry));
  return (entry & level_mode) != 0 &&
         (mode == DeliveryMode::fixed || mode == DeliveryMode::lowest);
}

[[nodiscard]] LapicMessage message_of(u64 entry) {
  LapicMessage message;
  message.destination = static_cast<u32>(Destination::get(entry) | Extended::get(entry) << 8);
  message.logical = (entry & logical) != 0;
  message.mode = static_cast<DeliveryMode>(Mode::get(entry));
  message.vector = static_cast<u8>(Vector::get(entry));
  message.level = is_level(entry);
  return message;
}

}  // namespace

Vioapic::Vioapic(unsigned pins, Send send) : send_(std::move(send)), pins_(pins) { reset(); }

void Vioapic::reset() {
  id_ = 0;
  select_ = 0;
  for (Pin& pin : pins_) pin.entry = masked;
}

u32 Vioapic::read(u32 offset) const {
  switch (offset) {
    case reg_select:
      return select_;
    case reg_window:
      return read_indirect();
    default:
      return 0;
  }
}

void Vioapic::write(u32 offset, u32 value) {
  switch (offset) {
    case reg_select:
      select_ = static_cast<u8>(value);
      break;
    case reg_window:
      write_indirect(value);
      break;
    case reg_eoi:
      eoi(static_cast<u8>(value));
      break;
    default:
      break;
  }
}

u32 Vioapic::read_indirect() const {
  switch (select_) {
    case index_id:
    case index_arbitration:
      return id_;
    case index_version:
      return version | (pins() - 1) << 16;
    default:
      break;
  }
  if (select_ < index_table || (select_ - index_table) / 2u >= pins()) return 0;
  const u64 entry = pins_[(select_ - index_table) / 2u].entry;
  return static_cast<u32>(select_ % 2 == 0 ? entry : entry >> 32);
}

void Vioapic::write_indirect(u32 value) {
  if (select_ == index_id) id_ = value & id_mask;
  if (select_ < index_table || (select_ - index_table) / 2u >= pins()) return;
  Pin& pin = pins_[(select_ - index_table) / 2u];
  if (select_ % 2 == 0) {
    pin.entry = (pin.entry & ~writable_low) | (value & writable_low);
    // Edge mode has no remote IRR: software clears a stuck one by turning to edge and back.
    if (!is_level(pin.entry)) pin.entry &= ~remote_irr;
  } else {
    pin.entry = (pin.entry & ~writable_high) | (u64{value} << 32 & writable_high);
  }
  settle_level(pin);
}

void Vioapic::set_pin(unsigned n, bool level) {
  Pin& pin = pins_[n];
  const bool rises = level && !pin.level;
  pin.level = level;
  if (is_level(pin.entry)) {
    settle_level(pin);
  } else if (rises && (pin.entry & masked) == 0) {
    send_(message_of(pin.entry));
  }
}

/// Sends a level interrupt that is asserted, let through and not in service.
void Vioapic::settle_level(Pin& pin) {
  if (!pin.level || !is_level(pin.entry) || (pin.entry & (masked | remote_irr)) != 0) return;
  // Remote IRR says that a local APIC accepted the message; one that nobody took is tried again at
  // the next write of the entry or change of the pin.
  if (send_(message_of(pin.entry))) pin.entry |= remote_irr;
}

void Vioapic::eoi(u8 vector) {
  for (Pin& pin : pins_) {
    if ((pin.entry & remote_irr) == 0 || Vector::get(pin.entry) != vector) continue;
    pin.entry &= ~remote_irr;
    settle_level(pin);
  }
}

void Vioapic::save(StateWriter& body) const {
  body.put_u32(id_);
  body.put_u8(select_);
  body.put_u32(pins());
  for (const Pin& pin : pins_) {
    body.put_u64(pin.entry);
    body.put_bool(pin.level);
  }
}

void Vioapic::load(StateSection& body) {
  const u32 id = body.get_u32();
  const u8 select = body.get_u8();
  if (body.get_u32() != pins()) body.reject();
  std::vector<Pin> loaded(pins_.size());
  for (Pin& pin : loaded) {
    pin.entry = body.get_u64() & (writable_low | writable_high | remote_irr);
    pin.level = body.get_bool();
    if (!is_level(pin.entry)) pin.entry &= ~remote_irr;
  }
  if (!body.ok()) return;
  id_ = id & id_mask;
  select_ = select;
  pins_ = std::move(loaded);
}

}  // namespace bhyve::intc
