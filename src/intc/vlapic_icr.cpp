#include "intc/vlapic.hpp"

namespace bhyve::intc {
namespace {

/// Table 11-3: the shorthands that name the sender carry fixed interrupts alone.
[[nodiscard]] bool combination_legal(DeliveryMode mode, Shorthand shorthand) {
  if (mode == DeliveryMode::reserved3 || mode == DeliveryMode::extint) return false;
  return mode == DeliveryMode::fixed || shorthand == Shorthand::none ||
         shorthand == Shorthand::others;
}

}  // namespace

void Vlapic::send_ipi(u32 low, u32 destination, bool wide) {
  const auto mode = static_cast<DeliveryMode>(icr::Mode::get(low));
  const auto shorthand = static_cast<Shorthand>(icr::ShorthandField::get(low));
  const u8 vector = static_cast<u8>(icr::Vector::get(low));
  // The de-assert of a level message is of no effect since the Pentium 4, INIT's included.
  if ((low & icr::level_trigger) != 0 && (low & icr::assert_level) == 0) return;
  if (!combination_legal(mode, shorthand)) return;
  if ((mode == DeliveryMode::fixed || mode == DeliveryMode::lowest) &&
      vector < first_legal_vector) {
    raise_error(esr::send_illegal_vector);
    return;
  }
  stats_.add(VlapicStats::Counter::ipis_sent);
  LapicMessage message;
  message.ipi = true;
  message.destination = destination;
  message.logical = (low & icr::logical) != 0;
  message.wide = wide;
  message.mode = mode;
  message.vector = vector;
  switch (shorthand) {
    case Shorthand::none:
      bus_.deliver(message);
      break;
    case Shorthand::self:
      send_to_self(vector);
      break;
    case Shorthand::all:
      send_to_self(vector);
      bus_.deliver_others(id_, message);
      break;
    case Shorthand::others:
      bus_.deliver_others(id_, message);
      break;
  }
}

void Vlapic::self_ipi(u8 vector) {
  stats_.add(VlapicStats::Counter::ipis_sent);
  send_to_self(vector);
}

void Vlapic::send_to_self(u8 vector) {
  count_ipi();
  set_irr(vector, false);
}

}  // namespace bhyve::intc
