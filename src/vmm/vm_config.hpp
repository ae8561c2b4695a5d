#pragma once
#include "base/types.hpp"

namespace bhyve::vmm {

/// What a VM is made of, as far as the vmm cares. Memory comes with the Vmspace.
struct VmConfig final {
  static constexpr u32 max_vcpus = 1024;

  u32 vcpus = 1;              ///< 1 .. max_vcpus
  bool x2apic = true;         ///< CPUID.1:ECX[21]: the guest may enter x2APIC mode
  bool start_in_x2apic = false;  ///< power-up leaves the local APICs in x2APIC mode; needs x2apic
  bool tsc_deadline = true;   ///< CPUID.1:ECX[24]
  bool rtc_localtime = true;  ///< false: UTC (-u)
  bool virtual_wire = true;   ///< the BSP starts as firmware leaves it: LINT0 = ExtINT, LINT1 = NMI
  bool halt_detection = true;          ///< all vCPUs in HLT with interrupts off end the VM
  u32 physical_bits = 46;              ///< MAXPHYADDR
  u64 lapic_timer_hz = 25'000'000;  ///< crystal clock; whole MHz, as CPUID 15h tells
  u64 tsc_hz = 0;                      ///< of the host's TSC; 0: measured
  u64 lowmem = 0;                      ///< bytes below 4 GiB, for the RTC's memory size registers
  u64 highmem = 0;                     ///< bytes from 4 GiB
};

}  // namespace bhyve::vmm
