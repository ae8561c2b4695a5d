#pragma once
#include <array>

#include "base/bits.hpp"
#include "engine/soft/replay/fpu.hpp"
#include "x86/registers.hpp"

/// Memory formats of XSAVE images as the guest sees them (SDM vol. 1, 13.4).
namespace bhyve::soft {

/// The XSAVE header (13.4.2).
struct XsaveHeader final {
  u64 xstate_bv, xcomp_bv;
  std::array<u64, 6> reserved;
};
static_assert(sizeof(XsaveHeader) == 64);
inline constexpr unsigned xsave_header_at = 512, xsave_extended_at = 576;
inline constexpr u64 xcomp_compacted = bit(63);

/// Components outside of the legacy region that guests can have.
inline constexpr std::array<u8, 4> extended_components{2, 5, 6, 7};

/// Where components lie in an image.
struct XsaveImage final {
  std::array<u16, 8> offset{};
  u16 size = xsave_extended_at;

  /// Standard format, big enough for `components`.
  [[nodiscard]] static constexpr XsaveImage standard(u64 components) {
    XsaveImage image;
    for (const unsigned n : extended_components) {
      if (!(components >> n & 1)) continue;
      const auto part = XsaveLayout::intel().part(n);
      image.offset[n] = part.offset;
      const u16 end = static_cast<u16>(part.offset + part.length);
      if (end > image.size) image.size = end;
    }
    return image;
  }
  /// Compacted format with these components. None of them asks for alignment (CPUID 0Dh, ECX[1]).
  [[nodiscard]] static constexpr XsaveImage compacted(u64 components) {
    XsaveImage image;
    for (const unsigned n : extended_components) {
      if (!(components >> n & 1)) continue;
      image.offset[n] = image.size;
      image.size = static_cast<u16>(image.size + XsaveLayout::intel().part(n).length);
    }
    return image;
  }
};

/// Bytes of component n that exist in the current mode: outside of 64-bit mode only registers 0-7
/// are saved and loaded (13.4.1, 13.5).
[[nodiscard]] constexpr unsigned xsave_length(unsigned component, bool code64) {
  const unsigned length = component == 1 ? 256 : XsaveLayout::intel().part(component).length;
  if (code64 || component == 5) return length;
  return component == 7 ? 0 : length / 2;
}

/// True when a header may be restored (13.8, 13.12). `compaction`: the CPU has XSAVEC; `allowed`:
/// XCR0, with IA32_XSS for XRSTORS.
[[nodiscard]] constexpr bool xsave_header_valid(const XsaveHeader& h, u64 allowed, bool compaction,
                                                bool supervisor) {
  const u64 listed = h.xcomp_bv & ~xcomp_compacted;
  if (!(h.xcomp_bv & xcomp_compacted)) {
    return !supervisor && h.xcomp_bv == 0 && h.reserved[0] == 0 && !(h.xstate_bv & ~allowed);
  }
  for (const u64 word : h.reserved)
    if (word) return false;
  return compaction && !(listed & ~allowed) && !(h.xstate_bv & ~listed);
}

}  // namespace bhyve::soft
