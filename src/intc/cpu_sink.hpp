#pragma once
#include "base/types.hpp"

namespace bhyve::intc {

/// What interrupt controllers ask of the CPUs. The vmm implements it; chips reach CPUs through it
/// alone. All members may be called from any thread, never block and take no lock that is held
/// across guest execution.
class CpuSink {
 public:
  virtual ~CpuSink() = default;
  /// vcpu_notify_event(): the local APIC of `vcpu` may have something to deliver.
  virtual void notify(VcpuId vcpu) = 0;
  /// An NMI is to be delivered (one is remembered).
  virtual void nmi(VcpuId vcpu) = 0;
  /// The INTR output of the PIC reaches `vcpu` as ExtINT; it stays asked for until the PIC's output
  /// goes low or the vCPU acknowledges.
  virtual void extint(VcpuId vcpu) = 0;
  /// INIT arrived at `vcpu`; it leaves guest execution, is reset and waits for SIPI.
  virtual void init(VcpuId vcpu) = 0;
  /// SIPI arrived; ignored unless the vCPU waits for it. Start address is vector << 12.
  virtual void sipi(VcpuId vcpu, u8 vector) = 0;
};

}  // namespace bhyve::intc
