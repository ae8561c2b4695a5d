#pragma once
#include "base/address.hpp"
#include "bus/device.hpp"
#include "bus/range_map.hpp"

namespace bhyve::bus {

/// The memory-mapped devices of a VM, by guest-physical address. An access lies in one range as a
/// whole or hits nothing: nothing reads all ones and drops writes.
/// Thread safety: every member, from any thread, also while other threads access memory.
class MmioMap final {
 public:
  /// Gives [base, base + size) to `device`. Fails (EEXIST, EINVAL) on overlap, size 0 or a range that
  /// wraps around.
  [[nodiscard]] Result<void> add(Gpa base, u64 size, Mmio& device);
  /// Takes the range that starts at `base` away; no access of another thread is in flight when it
  /// returns. The caller holds no lock that the device takes. False: no such range.
  bool remove(Gpa base) { return map_.remove(base.value()); }
  /// Whether any device answers at this address.
  [[nodiscard]] bool contains(Gpa address) {
    return static_cast<bool>(map_.find(address.value(), address.value()));
  }

  /// `value` gets `size` bytes (1, 2, 4 or 8), zero extended; all ones when nothing is there.
  /// Returns whether a device handled the access.
  bool read(Gpa address, unsigned size, VcpuId vcpu, u64& value);
  /// Only the low `size` bytes of value count.
  bool write(Gpa address, unsigned size, VcpuId vcpu, u64 value);

 private:
  RangeMap<Mmio> map_;
};

}  // namespace bhyve::bus
