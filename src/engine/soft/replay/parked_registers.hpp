#pragma once
#include <array>
#include <cstring>

#include "engine/soft/replay/fpu.hpp"

/// The guest's x87 and vector registers as data, while they are parked.
namespace bhyve::soft {

/// First 32 bytes of the legacy region (SDM vol. 1, table 10-2).
struct LegacyHead final {
  u16 fcw, fsw;
  u8 ftw;  ///< abridged: bit n set when physical register n is not empty
  u8 reserved;
  u16 fop;
  u64 fip, fdp;  ///< 64-bit form; the 32-bit form has a selector in bits 47-32
  u32 mxcsr, mxcsr_mask;
};
static_assert(sizeof(LegacyHead) == 32);

/// The legacy region of an XSAVE area and the part of an FXSAVE image that the processor uses.
struct LegacyRegion final {
  LegacyHead head;
  u8 st[8][16];    ///< ST(0)..ST(7), relative to TOP
  u8 xmm[16][16];
};
static_assert(sizeof(LegacyRegion) == 416);

inline constexpr u32 mxcsr_initial = 0x1f80;
/// MXCSR bits that exist (Intel has no MISALIGNSSE). Others raise #GP when loaded.
inline constexpr u32 mxcsr_defined = 0xffff;

/// View of a parked Fpu. Valid until the state becomes live again.
class ParkedRegisters final {
 public:
  /// A vector register in its full width.
  struct Vector final {
    alignas(8) std::array<u8, 64> bytes{};

    [[nodiscard]] u64 element(unsigned n, unsigned size) const {
      u64 v = 0;
      __builtin_memcpy(&v, bytes.data() + n * size, size == 8 ? 8 : 4);
      return v;
    }
    void set_element(unsigned n, unsigned size, u64 v) {
      __builtin_memcpy(bytes.data() + n * size, &v, size == 8 ? 8 : 4);
    }
    void clear_from(unsigned byte) { std::memset(bytes.data() + byte, 0, bytes.size() - byte); }
    /// Sign bits of the first `count` elements of `size` bytes, element 0 in bit 0.
    [[nodiscard]] u64 signs(unsigned count, unsigned size) const {
      u64 set = 0;
      for (unsigned n = 0; n < count; ++n)
        set |= (u64{bytes[n * size + size - 1]} >> 7) << n;
      return set;
    }
  };

  explicit ParkedRegisters(Fpu& fpu) : fpu_(fpu) { fpu.fetch(); }

  [[nodiscard]] LegacyRegion& legacy() { return *reinterpret_cast<LegacyRegion*>(fpu_.area()); }
  [[nodiscard]] bool initial(unsigned component) const {
    return !(fpu_.xstate_bv() >> component & 1);
  }
  [[nodiscard]] u64 opmask(unsigned k) const;
  void set_opmask(unsigned k, u64 value);
  /// Vector register 0..31, all 64 bytes (parts that the host lacks are 0).
  [[nodiscard]] Vector read(unsigned reg) const;
  void write(unsigned reg, const Vector& v);

  /// MMX register 0..7: the significand of a physical x87 register.
  [[nodiscard]] u64 mmx(unsigned n);
  /// What every MMX instruction does to the x87 state: TOP = 0, all registers valid.
  void enter_mmx();
  /// True when an unmasked x87 exception waits for the next x87 or MMX instruction.
  [[nodiscard]] bool x87_pending();

 private:
  void get(unsigned component, unsigned offset, u8* to, unsigned n) const;
  void put(unsigned component, unsigned offset, const u8* from, unsigned n);
  Fpu& fpu_;
};

}  // namespace bhyve::soft
