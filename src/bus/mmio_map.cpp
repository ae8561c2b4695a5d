#include "bus/mmio_map.hpp"

#include "bus/access.hpp"

namespace bhyve::bus {

namespace {

/// The last byte of an access, or nothing when the size is not one of the bus or the access wraps.
bool last_byte(Gpa address, unsigned size, u64& last) {
  if (size != 1 && size != 2 && size != 4 && size != 8) return false;
  last = address.value() + size - 1;
  return last >= address.value();
}

}  // namespace

Result<void> MmioMap::add(Gpa base, u64 size, Mmio& device) {
  if (size == 0 || base.value() + (size - 1) < base.value())
    return fail(EINVAL, "memory range {:#x} of {:#x} bytes is empty or wraps around", base.value(),
                size);
  return map_.add(base.value(), base.value() + (size - 1), device);
}

bool MmioMap::read(Gpa address, unsigned size, VcpuId vcpu, u64& value) {
  value = all_ones(size);
  u64 last = 0;
  if (!last_byte(address, size, last)) return false;
  const auto pin = map_.find(address.value(), last);
  if (!pin) return false;
  value &= pin.target().mmio_read(address.value() - pin.first(), size, vcpu);
  return true;
}

bool MmioMap::write(Gpa address, unsigned size, VcpuId vcpu, u64 value) {
  u64 last = 0;
  if (!last_byte(address, size, last)) return false;
  const auto pin = map_.find(address.value(), last);
  if (!pin) return false;
  pin.target().mmio_write(address.value() - pin.first(), size, value & all_ones(size), vcpu);
  return true;
}

}  // namespace bhyve::bus
