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

/// What else can have the registers: a process whose code uses them.
class FpuHolder {
 public:
  /// Copies them into an area like Fpu::area(), with FIP, FDP and FOP. False: they are lost, and the area is as
  /// before. On the vCPU's thread.
  [[nodiscard]] virtual bool bring_back(std::span<u8> area) = 0;

 protected:
  ~FpuHolder() = default;
};

/// Where the guest's x87, SSE, AVX and AVX-512 registers are: parked in area(), away with a holder (in both cases
/// the host's FPU belongs to C++), or live in the host's registers, MXCSR and x87 control word included (then only
/// general-register code may run). Replayed instructions make it live; Cpu::leave() parks it. What is away comes
/// back when somebody needs it, at the end of Cpu::run() at the latest.
/// Owner: the vCPU's thread.
class Fpu final {
 public:
  explicit Fpu(Cpu& cpu);

  /// Makes the guest's state live. Cheap when it is.
  void unpark() {
    if (place_ != Place::live) make_live();
  }
  /// Saves a live state and gives C++ a clean FPU: FNINIT (a pending x87 exception must not
  /// fire in our code), the default MXCSR, upper halves clear. Cheap when there is none.
  void park() {
    if (place_ == Place::live) make_parked();
  }
  /// park(), and the state is in area(), wherever it was.
  void fetch() {
    if (place_ != Place::parked) bring_home();
  }
  [[nodiscard]] bool live() const { return place_ == Place::live; }

  /// fetch(), and area() is what the guest's own code would run with: MXCSR and FIP, FDP and FOP are in it.
  [[nodiscard]] std::span<const u8> complete();
  /// `holder` was given the state of area() and has it from now on.
  void go_to(FpuHolder& holder) { place_ = Place::away, holder_ = &holder; }
  [[nodiscard]] bool is_with(const FpuHolder& holder) const {
    return place_ == Place::away && holder_ == &holder;
  }
  /// The holder is gone, and the state with it: area() has one of the guest's earlier states. Cpu::run() ends.
  [[nodiscard]] bool lost() const { return lost_; }

  /// The parked state: an XSAVE area in the host's standard layout. Components that are in their
  /// initial state have their XSTATE_BV bit clear and stale bytes. Only valid after fetch().
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

  /// FIP, FDP and FOP are the guest's, not those of the replayed host instruction. Not valid while away.
  u64 fip = 0, fdp = 0;
  u16 fop = 0;

 private:
  void make_live();
  void make_parked();
  void bring_home();
  void put_pointers();
  void take_pointers();
  enum class Place : u8 { parked, live, away };
  static constexpr usize area_size = 4096;
  Cpu& cpu_;
  FpuHolder* holder_ = nullptr;
  Place place_ = Place::parked;
  bool lost_ = false;
  alignas(64) std::array<u8, area_size> area_{};
};

}  // namespace bhyve::soft
