#pragma once
#include "base/state.hpp"
#include "base/types.hpp"

/// Roles that a device may play. A device inherits the roles it needs; it never knows the address at
/// which the machine placed it. Every call may come from any vCPU thread: the device locks itself.
/// Nothing a guest passes may throw, assert or block.
namespace bhyve::bus {

/// Port I/O. `offset` counts from the base of the registered range; size is 1, 2 or 4.
class Pio {
 public:
  virtual ~Pio() = default;
  virtual u32 pio_read(u16 offset, unsigned size) = 0;
  virtual void pio_write(u16 offset, unsigned size, u32 value) = 0;
};

/// Memory-mapped I/O. size is 1, 2, 4 or 8; the access lies inside the registered range.
class Mmio {
 public:
  virtual ~Mmio() = default;
  virtual u64 mmio_read(u64 offset, unsigned size, VcpuId vcpu) = 0;
  virtual void mmio_write(u64 offset, unsigned size, u64 value, VcpuId vcpu) = 0;
};

/// Order over a device's life: (reset) start, pause, [save | load while paused], start, ... ; reset
/// is a hardware reset and comes while paused. pause() returns when no callback of the device runs
/// and no I/O is in flight.
class Lifecycle {
 public:
  virtual ~Lifecycle() = default;
  virtual void start() {}
  virtual void pause() {}
  virtual void reset() = 0;
};

/// Saved state: one section per device instance (base/state.hpp).
class Persist {
 public:
  virtual ~Persist() = default;
  virtual void save(StateWriter& out) const = 0;
  /// Fails with a sentence naming the section. A failed load leaves the device in reset state.
  [[nodiscard]] virtual Result<void> load(const StateReader& in) = 0;
};

}  // namespace bhyve::bus
