#include "dev/lpc/pirq_router.hpp"

#include <algorithm>

namespace bhyve::dev {

namespace {

constexpr u8 no_irq = 0xff;

}  // namespace

u8 PirqRouter::irq(unsigned link) const {
  const u8 value = route(link);
  const u8 irq = value & 0x0f;
  return (value & disabled) == 0 && (legal_irqs >> irq & 1) != 0 ? irq : no_irq;
}

bool PirqRouter::set_route(unsigned link, u8 value) {
  link %= links;
  value &= writable;
  if (value == route_[link]) return false;
  const bool asserted = asserted_[link] != 0;
  if (asserted) change(irq(link), -1);
  route_[link] = value;
  if (asserted) change(irq(link), +1);
  return true;
}

void PirqRouter::change(unsigned irq, int by) {
  if (irq == no_irq) return;
  const bool before = level_[irq] != 0;
  level_[irq] += static_cast<u32>(by);
  const bool after = level_[irq] != 0;
  if (before != after && line_) line_(irq, after);
}

void PirqRouter::assert_link(unsigned link) {
  link %= links;
  if (asserted_[link]++ == 0) change(irq(link), +1);
}

void PirqRouter::deassert_link(unsigned link) {
  link %= links;
  if (asserted_[link] != 0 && --asserted_[link] == 0) change(irq(link), -1);
}

void PirqRouter::deassert_all() {
  for (unsigned link = 0; link < links; ++link) {
    if (asserted_[link] != 0) change(irq(link), -1);
    asserted_[link] = 0;
  }
}

unsigned PirqRouter::allocate_link() {
  const auto least = std::min_element(link_users_.begin(), link_users_.end());
  const auto link = static_cast<unsigned>(least - link_users_.begin());
  use_link(link);
  return link;
}

void PirqRouter::use_link(unsigned link) {
  link %= links;
  ++link_users_[link];
  if (irq(link) == no_irq) {
    unsigned best = no_irq;
    for (unsigned i = 0; i < 16; ++i) {
      if (((legal_irqs & ~reserved_) >> i & 1) == 0) continue;
      if (best == no_irq || irq_users_[i] < irq_users_[best]) best = i;
    }
    if (best == no_irq) return;  // every interrupt is reserved: the link stays off
    set_route(link, static_cast<u8>(best));
  }
  ++irq_users_[irq(link)];
}

}  // namespace bhyve::dev
