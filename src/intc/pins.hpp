#pragma once
#include "base/types.hpp"

namespace bhyve::intc {

/// One interrupt input as a device sees it. Any thread. Level devices assert and deassert; edge
/// devices pulse. Asserting twice is the same as once: sharing is counted where lines join.
class IrqPin {
 public:
  virtual ~IrqPin() = default;
  virtual void set_level(bool asserted) = 0;
  void assert_pin() { set_level(true); }
  void deassert_pin() { set_level(false); }
  void pulse() {
    set_level(true);
    set_level(false);
  }
};

/// Message-signalled interrupts, address and data opaque to the caller (vm_lapic_msi). Any thread.
class MsiSink {
 public:
  virtual ~MsiSink() = default;
  virtual void msi(u64 address, u32 data) = 0;
};

/// End-of-interrupt back-channel: the local APICs tell the I/O APIC of a level vector's EOI.
class EoiSink {
 public:
  virtual ~EoiSink() = default;
  virtual void eoi(u8 vector) = 0;
};

}  // namespace bhyve::intc
