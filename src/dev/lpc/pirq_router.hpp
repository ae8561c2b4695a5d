#pragma once
#include <array>
#include <functional>

#include "base/types.hpp"

namespace bhyve::dev {

/// Routes the PCI interrupt links A..H (0..7) to ISA interrupts, as PIIX chips do (82371AB section
/// 4.1.10), and hands out links and interrupts to new functions. Links are level triggered and
/// shared: how many functions assert each is counted here. Pure.
class PirqRouter final {
 public:
  static constexpr unsigned links = 8;
  static constexpr u16 legal_irqs = 0xdef8;  ///< 3 4 5 6 7 9 10 11 12 14 15
  static constexpr u8 disabled = 0x80;       ///< routing register: bit 7; the interrupt is bits 3..0
  static constexpr u8 writable = 0x8f;
  /// Level of an ISA interrupt as far as PCI is concerned; on change only.
  using IsaLine = std::function<void(unsigned irq, bool level)>;

  explicit PirqRouter(IsaLine line) : line_(std::move(line)) { route_.fill(disabled); }

  [[nodiscard]] u8 route(unsigned link) const { return route_[link % links]; }
  /// The interrupt a link goes to, or 255 when it is off or routed to an interrupt that is not legal.
  [[nodiscard]] u8 irq(unsigned link) const;
  /// Programs a routing register; asserted links move with it. True when it changed.
  bool set_route(unsigned link, u8 value);

  /// One more, or one fewer, function asserts the link.
  void assert_link(unsigned link);
  void deassert_link(unsigned link);
  /// Nobody asserts anything: for a reset, after which the functions start anew.
  void deassert_all();

  /// The machine's part. reserve: an ISA device owns this interrupt. use: counts a user (the SCI).
  void reserve_irq(unsigned irq) { reserved_ = static_cast<u16>(reserved_ | 1u << (irq & 15)); }
  void use_irq(unsigned irq) { ++irq_users_[irq & 15]; }
  /// Gives a new function the link with the fewest users, and a link without a route the legal
  /// interrupt with the fewest.
  unsigned allocate_link();
  /// As allocate_link(), for a link that is fixed by slot and pin.
  void use_link(unsigned link);

 private:
  void change(unsigned irq, int by);

  IsaLine line_;
  std::array<u8, links> route_{};
  std::array<u32, links> asserted_{};      ///< functions that assert each link
  std::array<u32, 16> level_{};            ///< asserted links routed to each interrupt
  std::array<u32, links> link_users_{};
  std::array<u32, 16> irq_users_{};
  u16 reserved_ = 0;
};

}  // namespace bhyve::dev
