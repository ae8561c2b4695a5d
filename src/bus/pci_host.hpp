#pragma once
#include <array>
#include <atomic>

#include "bus/pci_function.hpp"
#include "bus/range_map.hpp"

namespace bhyve::bus {

/// All PCI functions of a VM by bus, slot and function.
/// Thread safety: every member, from any thread, also while guests access configuration space.
class PciHost final {
 public:
  /// Fails with EEXIST when the place is taken.
  [[nodiscard]] Result<void> add(pci::Bdf at, PciFunction& function);
  /// Removes a function; no configuration access to it is in flight on return. False: none there.
  bool remove(pci::Bdf at);

  /// A guest's configuration access. An absent function, an access that is not aligned or not 1, 2 or
  /// 4 bytes reads all ones and drops writes. The header type of a slot with functions above 0 shows
  /// the multi-function bit.
  u32 read(pci::Bdf at, unsigned offset, unsigned size);
  void write(pci::Bdf at, unsigned offset, unsigned size, u32 value);

 private:
  static constexpr unsigned slots = 256 * 32;

  RangeMap<PciFunction> functions_;
  std::array<std::atomic<u8>, slots> present_{};  ///< functions of each slot, by bus << 5 | slot
};

}  // namespace bhyve::bus
