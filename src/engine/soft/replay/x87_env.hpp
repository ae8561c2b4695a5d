#pragma once
#include "base/types.hpp"
#include "engine/soft/replay/parked_registers.hpp"

/// The x87 environment in memory: FSTENV, FLDENV, FSAVE, FRSTOR (SDM vol. 1, 8.1.10).
namespace bhyve::soft {

/// The four memory formats. Selectors are always 0 (CPUID.7.EBX[13]: FCS and FDS deprecated).
struct X87Format final {
  bool wide = true;  ///< 28 bytes (32-bit operand size), else 14
  bool real = false;  ///< real-address or virtual-8086 mode: linear pointers in pieces

  [[nodiscard]] constexpr unsigned size() const { return wide ? 28 : 14; }
};

struct X87Environment final {
  u16 fcw = 0, fsw = 0;
  u16 tags = 0;  ///< full tag word, two bits for each physical register
  u64 fip = 0, fdp = 0;
  u16 fop = 0;

  /// Writes format.size() bytes.
  void encode(X87Format format, u8* to) const;
  [[nodiscard]] static X87Environment decode(X87Format format, const u8* from);
};

/// Full tag word of a parked x87 state: valid 0, zero 1, special 2, empty 3.
[[nodiscard]] u16 full_tags(const LegacyRegion& x87);
/// Abridged tag word: a bit for each register that is not empty.
[[nodiscard]] u8 abridged_tags(u16 full);
/// FSW with the summary bits ES and B as the exception flags and FCW's masks demand.
[[nodiscard]] u16 with_summary(u16 fsw, u16 fcw);

}  // namespace bhyve::soft
