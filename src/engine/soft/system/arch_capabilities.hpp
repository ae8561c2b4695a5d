#pragma once
#include "base/bits.hpp"

namespace bhyve::soft {

/// IA32_ARCH_CAPABILITIES (SDM vol. 4). Each bit spares the guest a counter-measure that can do
/// nothing on this CPU: guest page tables are walked by software and never loaded into hardware,
/// and guest user and kernel code run at one privilege level of the host, so that buffers, branch
/// history and store bypass are the host's to guard, not reachable by VERW,
/// CR3 switching or retpolines of the guest.
inline constexpr u64 arch_capabilities =
    bit(0)     // RDCL_NO: no terminal faults on guest entries (no page-table isolation)
    | bit(1)   // IBRS_ALL: set once, no toggling on every kernel entry, no retpolines
    | bit(3)   // SKIP_L1DFL_VMENTRY
    | bit(4)   // SSB_NO
    | bit(5)   // MDS_NO
    | bit(6)   // IF_PSCHANGE_MC_NO: our TLB has one kind of fragment
    | bit(8)   // TAA_NO: no TSX
    | bit(13)  // SBDR_SSDP_NO: device memory is software
    | bit(14)  // FBSDP_NO
    | bit(15)  // PSDP_NO
    | bit(20)  // BHI_NO
    | bit(24)  // PBRSB_NO
    | bit(26)  // GDS_NO
    | bit(27)  // RFDS_NO
    | bit(62); // ITS_NO

}  // namespace bhyve::soft
