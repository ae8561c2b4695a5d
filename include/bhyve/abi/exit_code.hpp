#pragma once
#include <cstdint>

/// Exit codes of vm_run(), bhyve's numbers (FreeBSD machine/vmm.h, enum vm_exitcode).
namespace bhyve::abi {

enum class ExitCode : std::uint32_t {
  inout = 0, vmx = 1, bogus = 2, rdmsr = 3, wrmsr = 4, hlt = 5, mtrap = 6, pause = 7, paging = 8,
  inst_emul = 9, spinup_ap = 10, spindown_cpu = 11, rendezvous = 12, ioapic_eoi = 13,
  suspended = 14, inout_str = 15, task_switch = 16, monitor = 17, mwait = 18, svm = 19,
  reqidle = 20, debug = 21, vminsn = 22, bpt = 23, ipi = 24, db = 25
};

/// Why a VM was suspended (enum vm_suspend_how). bhyve's exit status is derived from it.
enum class SuspendHow : std::uint32_t { none = 0, reset = 1, poweroff = 2, halt = 3, triplefault = 4 };

/// Per-vCPU capabilities (enum vm_cap_type).
enum class Capability : std::uint32_t {
  halt_exit = 0, mtrap_exit = 1, pause_exit = 2, unrestricted_guest = 3, enable_invpcid = 4,
  bpt_exit = 5, rdpid = 6, rdtscp = 7, ipi_exit = 8, mask_hwintr = 9, rflags_tf = 10
};
inline constexpr unsigned capability_count = 11;

}  // namespace bhyve::abi
