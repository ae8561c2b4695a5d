#pragma once
#include <bit>
#include <type_traits>

#include "base/types.hpp"

namespace bhyve {

[[nodiscard]] constexpr u64 bit(unsigned n) { return u64{1} << n; }

/// Bits hi..lo of a register, named once and used for reading and writing.
template <unsigned Hi, unsigned Lo = Hi>
struct BitRange final {
  static_assert(Hi >= Lo && Hi < 64);
  static constexpr unsigned width = Hi - Lo + 1;
  static constexpr u64 max = width == 64 ? ~u64{0} : (u64{1} << width) - 1;
  static constexpr u64 mask = max << Lo;

  [[nodiscard]] static constexpr u64 get(u64 raw) { return (raw >> Lo) & max; }
  [[nodiscard]] static constexpr u64 make(u64 value) { return (value & max) << Lo; }
  template <class T>
  static constexpr void set(T& raw, u64 value) {
    raw = static_cast<T>((raw & ~mask) | make(value));
  }
};

[[nodiscard]] constexpr u64 align_down(u64 v, u64 a) { return v & ~(a - 1); }
[[nodiscard]] constexpr u64 align_up(u64 v, u64 a) { return (v + a - 1) & ~(a - 1); }

/// Opt-in bit operators for scoped enums that are sets of flags.
template <class E>
inline constexpr bool is_flag_enum = false;
template <class E>
  requires is_flag_enum<E>
constexpr E operator|(E a, E b) {
  using U = std::underlying_type_t<E>;
  return static_cast<E>(static_cast<U>(a) | static_cast<U>(b));
}
template <class E>
  requires is_flag_enum<E>
constexpr E operator&(E a, E b) {
  using U = std::underlying_type_t<E>;
  return static_cast<E>(static_cast<U>(a) & static_cast<U>(b));
}
/// True when `set` holds every flag of `flags`.
template <class E>
  requires is_flag_enum<E>
constexpr bool has(E set, E flags) {
  return (set & flags) == flags;
}

}  // namespace bhyve
