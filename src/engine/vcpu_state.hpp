#pragma once
#include <array>

#include "base/bits.hpp"
#include "base/types.hpp"
#include "x86/registers.hpp"

namespace bhyve::engine {

/// Groups of architectural state that cross the engine boundary together.
enum class StateGroups : u32 {
  gprs = 1,        ///< gpr, rip, rflags
  control = 2,     ///< cr0, cr2, cr3, cr4, efer, xcr0
  segments = 4,    ///< seg[], gdtr, idtr
  debug = 8,       ///< dr
  msrs = 16,       ///< the MSRs named in VcpuState
  events = 32,     ///< interrupt shadow, NMI blocking, pending exception
  fpu = 64,        ///< xsave image
  all = 127
};

/// Everything that makes up a vCPU but its local APIC. A plain struct: the engine copies it in and
/// out by groups while the vCPU is not running.
struct VcpuState final {
  std::array<u64, x86::gpr_count> gpr{};
  u64 rip = 0;
  u64 rflags = x86::rflags::fixed1;
  u64 cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, efer = 0, xcr0 = 1;
  std::array<x86::Segment, x86::seg_count> seg{};
  x86::TableRegister gdtr{}, idtr{};
  std::array<u64, 4> dr{};
  u64 dr6 = x86::dr::dr6_reset, dr7 = x86::dr::dr7_reset;

  u64 fs_kernel_gs_base = 0;  ///< IA32_KERNEL_GS_BASE (fs and gs bases are in seg[])
  u64 star = 0, lstar = 0, cstar = 0, sfmask = 0;
  u64 sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
  u64 tsc_aux = 0, pat = 0x0007'0406'0007'0406, misc_enable = 1;  // fast strings
  u64 tsc_offset = 0, tsc_adjust = 0;
  u64 mtrr_def_type = 0;
  std::array<u64, 11> mtrr_fixed{};
  std::array<u64, 16> mtrr_variable{};
  u64 xss = 0;
  u64 mc_enabled = 0;  ///< bit n: IA32_MCn_CTL is all ones, else 0 (SDM vol. 3, 16.3.2.1)
  u64 spec_ctrl = 0;  ///< IA32_SPEC_CTRL: IBRS, STIBP (kept, without effect)

  bool interrupt_shadow = false;  ///< STI or MOV SS
  bool nmi_blocked = false;
  bool halted = false;            ///< in HLT: waits for an event

  /// XSAVE area, standard format (SDM vol. 1, 13.4), components of the guest's XCR0.
  static constexpr usize xsave_size = 2752;
  alignas(64) std::array<u8, xsave_size> xsave{};

  /// Power-up and INIT values (SDM vol. 3, table 10-1); INIT keeps the FPU and some MSRs.
  void reset(bool init);
};

}  // namespace bhyve::engine
template <>
inline constexpr bool bhyve::is_flag_enum<bhyve::engine::StateGroups> = true;
