#pragma once
#include "base/types.hpp"

namespace bhyve::soft {

class Cpu;

/// Where the guest's x87, SSE, AVX and AVX-512 registers are: parked in Cpu::s.xsave (then the host's
/// FPU belongs to C++), or live in the host's registers, MXCSR and x87 control word included (then
/// only general-register code may run). Replayed instructions make it live; Cpu::leave() parks it.
/// Owner: the vCPU's thread.
class Fpu final {
 public:
  explicit Fpu(Cpu& cpu) : cpu_(cpu) {}

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

  /// FIP, FDP and FOP are the guest's, not those of the replayed host instruction.
  u64 fip = 0, fdp = 0;
  u16 fop = 0;

 private:
  void make_live();
  void make_parked();
  Cpu& cpu_;
  bool live_ = false;
};

}  // namespace bhyve::soft
