#pragma once
#include <array>
#include <span>

#include "base/types.hpp"

namespace bhyve::soft {

class Cpu;

/// Offsets of the XSAVE components in the standard format. They differ between processors (AMD's
/// leave no room for MPX): the guest always sees Intel's, the parked state has the host's.
struct XsaveLayout final {
  u16 avx = 576, opmask = 1088, zmm_hi256 = 1152, hi16_zmm = 1664;
  u16 size = 2688;

  static constexpr XsaveLayout intel() { return {}; }
  /// From the host's CPUID 0Dh; read once.
  static const XsaveLayout& host();
  /// Offset and length of component n (2, 5, 6, 7); length 0 for others.
  struct Part {
    u16 offset, length;
  };
  [[nodiscard]] constexpr Part part(unsigned component) const {
    switch (component) {
      case 2: return {avx, 256};
      case 5: return {opmask, 64};
      case 6: return {zmm_hi256, 512};
      case 7: return {hi16_zmm, 1024};
      default: return {0, 0};
    }
  }
};

/// Where the guest's x87, SSE, AVX and AVX-512 registers are: parked in area() (then the host's FPU
/// belongs to C++), or live in the host's registers, MXCSR and x87 control word included (then only
/// general-register code may run). Replayed instructions make it live; Cpu::leave() parks it.
/// Owner: the vCPU's thread.
class Fpu final {
 public:
  explicit Fpu(Cpu& cpu);

  /// Makes the guest's state live. Cheap when it is.
  void unpark() {
    if (!live_) make_live();
  }
  /// Saves the guest's state and gives C++ a clean FPU: FNINIT (a pending x87 exception must not
  /// fire in our code), the default MXCSR, upper halves clear. Cheap when parked.
  void park() {
    if (live_) make_parked();
  }
  [[nodiscard]] bool live() const { return live_; }

  /// The parked state: an XSAVE area in the host's standard layout. Components that are in their
  /// initial state have their XSTATE_BV bit clear and stale bytes. Only valid after park().
  [[nodiscard]] u8* area() { return area_.data(); }
  [[nodiscard]] u64& xstate_bv() { return *reinterpret_cast<u64*>(area_.data() + 512); }
  /// Gives a component that is in its initial state its initial bytes, so that it can be read and
  /// changed in place; sets its XSTATE_BV bit. Parked only.
  void materialise(unsigned component);
  /// Host components that are saved and loaded (XCR0 of the host, cut to what we know).
  [[nodiscard]] static u64 host_components();
  /// XCR0 of the host.
  [[nodiscard]] static u64 host_xcr0();

  /// Converts from and to the VcpuState form: Intel's standard layout, FIP/FDP/FOP included.
  void export_to(std::span<u8> intel_area);
  void import_from(std::span<const u8> intel_area);

  /// Bring FIP, FDP and FOP into area(), and out of it again where the guest's own code ran. Parked only.
  void put_pointers();
  void take_pointers();

  /// FIP, FDP and FOP are the guest's, not those of the replayed host instruction.
  u64 fip = 0, fdp = 0;
  u16 fop = 0;

 private:
  void make_live();
  void make_parked();
  static constexpr usize area_size = 4096;
  Cpu& cpu_;
  bool live_ = false;
  alignas(64) std::array<u8, area_size> area_{};
};

}  // namespace bhyve::soft
