#pragma once
#include "bus/device.hpp"
#include "bus/pci_host.hpp"

namespace bhyve::bus {

/// Enhanced configuration access (PCI Express Base section 7.2.2): 4 KiB a function, 1 MiB a bus.
/// Thread safety: any thread.
class PciEcam final : public Mmio {
 public:
  explicit PciEcam(PciHost& host) : host_(host) {}

  u64 mmio_read(u64 offset, unsigned size, VcpuId vcpu) override;
  void mmio_write(u64 offset, unsigned size, u64 value, VcpuId vcpu) override;

 private:
  PciHost& host_;
};

}  // namespace bhyve::bus
