#pragma once
#include "base/types.hpp"

/// Model-specific register numbers (SDM vol. 4).
namespace bhyve::x86::msr {

inline constexpr u32 p5_mc_addr = 0x0, p5_mc_type = 0x1, tsc = 0x10, platform_id = 0x17,
                     apic_base = 0x1b, feature_control = 0x3a, tsc_adjust = 0x3b, spec_ctrl = 0x48,
                     pred_cmd = 0x49, bios_updt_trig = 0x79, bios_sign_id = 0x8b, mtrr_cap = 0xfe,
                     arch_capabilities = 0x10a, flush_cmd = 0x10b, sysenter_cs = 0x174,
                     sysenter_esp = 0x175, sysenter_eip = 0x176, mcg_cap = 0x179,
                     mcg_status = 0x17a, mcg_ctl = 0x17b, misc_enable = 0x1a0,
                     debugctl = 0x1d9, mtrr_physbase0 = 0x200, mtrr_physmask7 = 0x20f,
                     mtrr_fix64k_00000 = 0x250, mtrr_fix16k_80000 = 0x258,
                     mtrr_fix16k_a0000 = 0x259, mtrr_fix4k_c0000 = 0x268,
                     mtrr_fix4k_f8000 = 0x26f, pat = 0x277, mtrr_def_type = 0x2ff,
                     mc0_ctl = 0x400, tsc_deadline = 0x6e0, x2apic_first = 0x800,
                     x2apic_last = 0x8ff, xss = 0xda0, efer = 0xc000'0080, star = 0xc000'0081,
                     lstar = 0xc000'0082, cstar = 0xc000'0083, sfmask = 0xc000'0084,
                     fs_base = 0xc000'0100, gs_base = 0xc000'0101, kernel_gs_base = 0xc000'0102,
                     tsc_aux = 0xc000'0103;

/// IA32_MISC_ENABLE (SDM vol. 4, table 2-2): what software may set and what it is told. The rest is
/// reserved.
namespace misc {
inline constexpr u64 limit_cpuid = u64{1} << 22, no_nx = u64{1} << 34,
                     // Fast strings, thermal control, SpeedStep, MONITOR, xTPR messages off.
                     writable = u64{1} | u64{1} << 3 | u64{1} << 16 | u64{1} << 18 | limit_cpuid |
                                u64{1} << 23 | no_nx,
                     fixed = u64{1} << 11 | u64{1} << 12,  // no branch trace store, no PEBS
                     read_only = fixed | u64{1} << 7;      // performance monitoring: none
}  // namespace misc

/// IA32_APIC_BASE (SDM vol. 3, 11.4.4).
inline constexpr u64 apic_base_bsp = u64{1} << 8, apic_base_x2apic = u64{1} << 10,
                     apic_base_enable = u64{1} << 11;

}  // namespace bhyve::x86::msr
