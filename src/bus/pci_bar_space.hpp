#pragma once
#include <optional>
#include <vector>

#include "bus/pci_function.hpp"

namespace bhyve::bus {

/// Gives the windows of PCI functions their first places, as firmware does (the guest may move them).
/// I/O BARs go into the port window, the others below 4 GiB, but for 64-bit ones above 128 MiB.
/// Thread safety: none.
class PciBarSpace final {
 public:
  /// Where windows may lie.
  struct Range {
    u64 first = 0, end = 0;
  };
  PciBarSpace(std::vector<Range> ports, Range memory32, Range memory64);

  /// Places all BARs and the ROM of a function. ENOSPC names the BAR for which there is no room.
  [[nodiscard]] Result<void> place(PciFunction& function);

 private:
  using Ranges = std::vector<Range>;
  [[nodiscard]] static std::optional<u64> take(Ranges& free, u64 size);
  [[nodiscard]] std::optional<u64> take(PciBar::Kind kind, u64 size);

  Ranges ports_, memory32_, memory64_;  ///< what is free, ascending
};

}  // namespace bhyve::bus
