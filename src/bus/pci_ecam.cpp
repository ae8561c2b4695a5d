#include "bus/pci_ecam.hpp"

namespace bhyve::bus {

namespace {

pci::Bdf ecam_function(u64 offset) { return pci::Bdf(static_cast<u16>(offset >> 12)); }

}  // namespace

u64 PciEcam::mmio_read(u64 offset, unsigned size, VcpuId) {
  const auto reg = static_cast<unsigned>(offset & page_mask);
  const pci::Bdf at = ecam_function(offset);
  if (size < 8) return host_.read(at, reg, size);
  if (reg % 8 != 0) return ~u64{0};
  return host_.read(at, reg, 4) | u64{host_.read(at, reg + 4, 4)} << 32;
}

void PciEcam::mmio_write(u64 offset, unsigned size, u64 value, VcpuId) {
  const auto reg = static_cast<unsigned>(offset & page_mask);
  const pci::Bdf at = ecam_function(offset);
  if (size < 8) return host_.write(at, reg, size, static_cast<u32>(value));
  if (reg % 8 != 0) return;
  host_.write(at, reg, 4, static_cast<u32>(value));
  host_.write(at, reg + 4, 4, static_cast<u32>(value >> 32));
}

}  // namespace bhyve::bus
