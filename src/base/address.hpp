#pragma once
#include <compare>

#include "base/types.hpp"

namespace bhyve {

/// An address of one kind. Kinds never mix: there is no conversion between them and none from an
/// integer that is not spelled out. address - address is a size; address +- size is an address.
template <class Kind>
class Address final {
 public:
  constexpr Address() = default;
  constexpr explicit Address(u64 value) : value_(value) {}

  [[nodiscard]] constexpr u64 value() const { return value_; }
  [[nodiscard]] constexpr Address page() const { return Address(value_ & ~page_mask); }
  [[nodiscard]] constexpr u64 page_number() const { return value_ >> page_shift; }
  [[nodiscard]] constexpr u64 page_offset() const { return value_ & page_mask; }

  friend constexpr auto operator<=>(Address, Address) = default;
  friend constexpr Address operator+(Address a, u64 n) { return Address(a.value_ + n); }
  friend constexpr Address operator-(Address a, u64 n) { return Address(a.value_ - n); }
  friend constexpr u64 operator-(Address a, Address b) { return a.value_ - b.value_; }
  constexpr Address& operator+=(u64 n) { value_ += n; return *this; }

 private:
  u64 value_ = 0;
};

/// Guest-physical address.
using Gpa = Address<struct GpaKind>;
/// Guest-linear (virtual) address, after segmentation.
using Gva = Address<struct GvaKind>;
/// Address in the VM's frame arena (pmap/arena.hpp): what an EPT entry holds in bits 12..51.
using ArenaAddr = Address<struct ArenaKind>;

}  // namespace bhyve
