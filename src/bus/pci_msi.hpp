#pragma once
#include <vector>

#include "bus/pci_config.hpp"

namespace bhyve::bus {

/// One message-signalled interrupt: what the function would write where.
struct MsiMessage final {
  u64 address = 0;
  u32 data = 0;
  friend bool operator==(const MsiMessage&, const MsiMessage&) = default;
};
/// Messages to be sent once the function's lock is released, in order.
using MsiMessages = std::vector<MsiMessage>;

/// The MSI capability (PCI Local Bus 3.0 section 6.8.1) with 64-bit addresses and, always, masks for
/// each vector. Lives in the function's configuration space, which is passed to every call; only
/// vectors that wait are kept here and shown in the pending register. Pure.
class PciMsi final {
 public:
  static constexpr unsigned length = 0x18;  ///< bytes of the capability

  /// Writes the capability at `offset`. vectors: 1, 2, 4, 8, 16 or 32; others are rounded up.
  PciMsi(PciConfig& config, unsigned offset, unsigned vectors);

  [[nodiscard]] bool enabled(const PciConfig& config) const;
  /// Raises a vector: sent, or kept pending while masked or while the function may not master the
  /// bus. Vectors beyond those enabled fold onto the last one; nothing happens when MSI is off.
  void raise(PciConfig& config, unsigned vector, bool master, MsiMessages& out);
  /// After a configuration write: sends what has waited and may go now.
  void update(PciConfig& config, bool master, MsiMessages& out);
  /// Forgets what waits; the registers are reset with the configuration space.
  void reset(PciConfig& config) { set_pending(config, 0); }

  void save(StateWriter& out) const { out.put_u32(pending_); }
  void load(StateSection& in, PciConfig& config);

 private:
  [[nodiscard]] MsiMessage message(const PciConfig& config, unsigned vector) const;
  [[nodiscard]] unsigned vectors_enabled(const PciConfig& config) const;
  void set_pending(PciConfig& config, u32 pending);

  unsigned at_;
  unsigned log2_vectors_;
  u32 pending_ = 0;
};

}  // namespace bhyve::bus
