#pragma once
#include "base/bits.hpp"

namespace bhyve::soft {

/// IA32_ARCH_CAPABILITIES (SDM vol. 4). Each bit spares the guest a counter-measure that does nothing on
/// this CPU, whatever the host's: docs/isolation.md says attack by attack why. SSB_NO is not among
/// them: no counter-measure is offered (no SSBD), and Linux says so at no cost.
inline constexpr u64 arch_capabilities =
    bit(0)     // RDCL_NO: no terminal faults on guest entries (no page-table isolation)
    | bit(1)   // IBRS_ALL: set once, no toggling on every kernel entry, no retpolines
    | bit(3)   // SKIP_L1DFL_VMENTRY
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
