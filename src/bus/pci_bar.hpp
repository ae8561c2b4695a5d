#pragma once
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "bus/mmio_map.hpp"
#include "bus/pio_map.hpp"

namespace bhyve::bus {

/// A window of a PCI function: a base address register or the expansion ROM.
struct PciBar final {
  enum class Kind : u8 { none, io, mem32, mem64, rom };
  /// Tells the function where its window went: (mapped, address). Called with the decoder locked.
  using Moved = std::function<void(bool, u64)>;

  Kind kind = Kind::none;
  bool prefetchable = false;
  u64 size = 0;  ///< bytes or ports, a power of two
  Pio* pio = nullptr;
  Mmio* mmio = nullptr;  ///< null: `moved` maps it (memory shown to the guest directly)
  Moved moved;

  std::optional<u64> wanted;  ///< where the registers say; owned by the decoder's lock
  bool mapped = false;        ///< whether it is there; owned by the decoder's lock
};

/// Puts the windows of all functions of a VM into its port and memory maps. Where a guest programs
/// two windows over each other, the first stays and the other appears once there is room.
/// Thread safety: any thread; the caller holds no lock that a window's device takes.
class PciDecoder final {
 public:
  PciDecoder(PioMap& ports, MmioMap& memory) : ports_(ports), memory_(memory) {}
  PciDecoder(const PciDecoder&) = delete;
  PciDecoder& operator=(const PciDecoder&) = delete;

  /// Moves a window, or takes it away. No access to the old place is in flight on return.
  void place(PciBar& bar, std::optional<u64> address);

 private:
  bool map(PciBar& bar);
  void unmap(PciBar& bar);

  std::mutex mutex_;
  PioMap& ports_;
  MmioMap& memory_;
  std::vector<PciBar*> waiting_;  ///< wanted somewhere that is taken; guarded by mutex_
};

}  // namespace bhyve::bus
