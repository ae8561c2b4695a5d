#pragma once
#include "bus/pci_function.hpp"

namespace bhyve::bus {

/// The memory BAR of the MSI-X table and pending bits.
class PciFunction::MsixWindow final : public Mmio {
 public:
  explicit MsixWindow(PciFunction& function) : function_(function) {}

  u64 mmio_read(u64 offset, unsigned size, VcpuId) override {
    const std::lock_guard lock(function_.config_mutex_);
    return function_.msix_->read(offset, size);
  }
  void mmio_write(u64 offset, unsigned size, u64 value, VcpuId) override {
    MsiMessages messages;
    {
      const std::lock_guard lock(function_.config_mutex_);
      function_.msix_->write(function_.config_, offset, size, value, function_.master_locked(),
                             messages);
    }
    function_.send(messages);
  }

 private:
  PciFunction& function_;
};

}  // namespace bhyve::bus
