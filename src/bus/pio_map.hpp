#pragma once
#include "bus/device.hpp"
#include "bus/range_map.hpp"

namespace bhyve::bus {

/// The 64 Ki I/O ports of a VM. An access lies in one range as a whole or hits nothing: nothing reads
/// all ones and drops writes.
/// Thread safety: every member, from any thread, also while other threads access ports.
class PioMap final {
 public:
  /// Gives ports base .. base + size - 1 to `device`. Fails (EEXIST, EINVAL) on overlap, size 0 or
  /// ports above FFFFh.
  [[nodiscard]] Result<void> add(u32 base, u32 size, Pio& device);
  /// Takes the range that starts at `base` away; no access of another thread is in flight when it
  /// returns. The caller holds no lock that the device takes. False: no such range.
  bool remove(u32 base) { return map_.remove(base); }

  /// IN. `value` gets `size` bytes (1, 2 or 4), zero extended; all ones when nothing is there.
  /// Returns whether a device handled the access.
  bool read(u16 port, unsigned size, u32& value);
  /// OUT. Only the low `size` bytes of value count.
  bool write(u16 port, unsigned size, u32 value);

 private:
  RangeMap<Pio> map_;
};

}  // namespace bhyve::bus
