#pragma once
#include <vector>

#include "base/error.hpp"
#include "platform/guest_blob.hpp"

namespace bhyve::platform {

/// What the MP table says beyond the constants of layout.hpp.
struct MpTableConfig final {
  std::vector<u32> apic_ids;        ///< by vCPU number; the first is the bootstrap processor
  std::vector<unsigned> pci_slots;  ///< slots of bus 0 with an INTx pin, ascending
};

/// The floating pointer and the configuration table (MultiProcessor Specification 1.4) at
/// layout::mptable. Fails with E2BIG when the CPUs do not fit: ids are 8 bits wide and there are
/// 4 KiB.
[[nodiscard]] Result<GuestBlob> make_mptable(const MpTableConfig& config);

}  // namespace bhyve::platform
