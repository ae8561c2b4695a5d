#pragma once
#include <atomic>

#include "bus/device.hpp"
#include "bus/pci_host.hpp"

namespace bhyve::bus {

/// Configuration mechanism 1 (PCI Local Bus 3.0 section 3.2.2.3.2): 8 ports from CF8h. The address
/// register answers 4-byte accesses only; CFCh..CFFh pass 1, 2 and 4 bytes. Byte accesses to CF9h
/// belong to the reset control register, which shares the range.
/// Thread safety: any thread. As on hardware, guests serialise address and data themselves.
class PciConfigPorts final : public Pio, public Lifecycle, public Persist {
 public:
  static constexpr u16 ports = 8;

  /// `reset_control` answers byte accesses to CF9h as its offset 0; may be null.
  explicit PciConfigPorts(PciHost& host, Pio* reset_control = nullptr)
      : host_(host), reset_control_(reset_control) {}

  u32 pio_read(u16 offset, unsigned size) override;
  void pio_write(u16 offset, unsigned size, u32 value) override;
  void reset() override { address_ = 0; }
  void save(StateWriter& out) const override;
  [[nodiscard]] Result<void> load(const StateReader& in) override;

 private:
  PciHost& host_;
  Pio* reset_control_;
  std::atomic<u32> address_{0};
};

}  // namespace bhyve::bus
