#pragma once
#include "base/address.hpp"
#include "base/types.hpp"

namespace bhyve::engine {

/// What a vCPU asks of the machine around it. The vmm implements it. Every member is called on the
/// vCPU's own thread while the vCPU is RUNNING, unless it says otherwise, with the host's FPU state
/// restored to C++'s. None may throw; none may run the guest.
class Client {
 public:
  virtual ~Client() = default;

  /// How an access ended: done inside the vmm; raise #GP(0); or leave run() with an Exit so that
  /// the machine's tables do it.
  enum class Access : u8 { done, fault, exit };

  /// Device memory. `size` is 1, 2, 4 or 8; never crosses a page.
  virtual Access mmio(VcpuId vcpu, Gpa gpa, unsigned size, u64& value, Dir dir) = 0;
  /// Port I/O; the guest's rights were checked.
  virtual Access pio(VcpuId vcpu, u16 port, unsigned size, u32& value, Dir dir) = 0;
  /// MSRs that the CPU core does not own: APICBASE, x2APIC, TSC deadline, unknown ones.
  virtual Access msr(VcpuId vcpu, u32 number, u64& value, Dir dir) = 0;
  /// The guest wrote IA32_TIME_STAMP_COUNTER or IA32_TSC_ADJUST: its TSC is `offset` ahead of the
  /// host's from now on, and a TSC deadline is another point in time.
  virtual void tsc_written(VcpuId /*vcpu*/, u64 /*offset*/) {}
  /// The guest is about to read a clock, and some time has passed since it last did. Events that are
  /// due by now are posted, though the thread that should have done so may wait for its turn. The
  /// engine delivers them before the guest learns the time.
  virtual void before_clock(VcpuId /*vcpu*/) {}
  /// Task-priority register as CR8 (0..15).
  virtual u8 cr8(VcpuId vcpu) = 0;
  virtual void set_cr8(VcpuId vcpu, u8 value) = 0;

  /// What waits for delivery. Called when the vCPU was kicked and when interrupts become enabled.
  struct Pending {
    bool nmi = false;
    bool interrupt = false;  ///< ExtINT or a local APIC vector above the processor priority
    bool leave = false;      ///< run() must return at once (suspend, rendezvous, idle request ...)
  };
  virtual Pending pending(VcpuId vcpu) = 0;
  /// The NMI is being delivered: forget it.
  virtual void accept_nmi(VcpuId vcpu) = 0;
  /// The CPU takes the interrupt now: acknowledges PIC or local APIC. -1 when it vanished.
  virtual int accept_interrupt(VcpuId vcpu) = 0;

  /// CPUID bits that live outside the core.
  virtual bool x2apic_enabled(VcpuId vcpu) = 0;
  virtual bool apic_enabled(VcpuId vcpu) = 0;
  /// The page at which this vCPU sees its local APIC's registers, whatever memory lies there (SDM
  /// vol. 3, 11.4.1 and 11.4.5); no_page when it has none there. Changes by WRMSR of APICBASE and
  /// outside of run() only.
  static constexpr Gpa no_page{~u64{0}};
  virtual Gpa apic_page(VcpuId /*vcpu*/) { return no_page; }
  /// FERR#: an unmasked x87 error with CR0.NE = 0 (IRQ 13).
  virtual void ferr(VcpuId vcpu) = 0;
};

}  // namespace bhyve::engine
