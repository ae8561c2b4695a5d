#include <array>

#include "bhyve/devices.hpp"

namespace bhyve {
namespace {

constexpr auto pci = std::to_array<DeviceName>({
    {"hostbridge", "PCI host bridge", true},
    {"amd_hostbridge", "PCI host bridge with AMD's ids", true},
    {"lpc", "PCI-ISA bridge: serial ports, interrupt router", true},
    {"virtio-net", "network interface", false},
    {"e1000", "Intel 82545 network interface", false},
    {"virtio-blk", "block device", false},
    {"virtio-scsi", "SCSI controller", false},
    {"virtio-9p", "shared directory", false},
    {"virtio-rnd", "random numbers", false},
    {"virtio-console", "console ports", false},
    {"virtio-input", "input events", false},
    {"ahci", "SATA controller", false},
    {"ahci-hd", "SATA controller with one disk", false},
    {"ahci-cd", "SATA controller with one CD", false},
    {"nvme", "NVMe controller", false},
    {"fbuf", "framebuffer behind VNC", false},
    {"xhci", "USB controller with a tablet", false},
    {"hda", "audio", false},
    {"uart", "PCI serial port", false},
    {"passthru", "device of the host", false},
    {"dummy", "test device", false},
    {"pci-testdev", "test device: BARs of all kinds, INTx, MSI, MSI-X", true},
    {"sgmem", "test device: memory of pieces of a file", true},
});

constexpr auto lpc = std::to_array<DeviceName>({
    {"com1", "serial port at 3F8h, IRQ 4", true},
    {"com2", "serial port at 2F8h, IRQ 3", true},
    {"com3", "serial port at 3E8h, IRQ 4", true},
    {"com4", "serial port at 2E8h, IRQ 3", true},
    {"bootrom", "firmware image", true},
    {"fwcfg", "firmware configuration interface (bhyve, qemu)", true},
    {"tpm", "trusted platform module", false},
    {"pc-testdev", "test ports of QEMU's device, debug exit at F4h", true},
    {"debugcon", "debug console at E9h", true},
});

}  // namespace

std::span<const DeviceName> pci_devices() { return pci; }
std::span<const DeviceName> lpc_devices() { return lpc; }

const DeviceName* find_device(std::span<const DeviceName> devices, std::string_view name) {
  for (const DeviceName& device : devices)
    if (device.name == name) return &device;
  return nullptr;
}

}  // namespace bhyve
