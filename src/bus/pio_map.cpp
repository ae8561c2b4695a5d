#include "bus/pio_map.hpp"

#include "bus/access.hpp"

namespace bhyve::bus {

namespace {

constexpr u32 ports = 0x1'0000;

constexpr bool valid_size(unsigned size) { return size == 1 || size == 2 || size == 4; }

}  // namespace

Result<void> PioMap::add(u32 base, u32 size, Pio& device) {
  if (size == 0 || base >= ports || size > ports - base)
    return fail(EINVAL, "port range {:#x} of {} ports is outside 0..0xffff", base, size);
  return map_.add(base, u64{base} + size - 1, device);
}

bool PioMap::read(u16 port, unsigned size, u32& value) {
  value = static_cast<u32>(all_ones(size));
  if (!valid_size(size)) return false;
  const auto pin = map_.find(port, u64{port} + size - 1);
  if (!pin) return false;
  value &= pin.target().pio_read(static_cast<u16>(port - pin.first()), size);
  return true;
}

bool PioMap::write(u16 port, unsigned size, u32 value) {
  if (!valid_size(size)) return false;
  const auto pin = map_.find(port, u64{port} + size - 1);
  if (!pin) return false;
  pin.target().pio_write(static_cast<u16>(port - pin.first()), size,
                         value & static_cast<u32>(all_ones(size)));
  return true;
}

}  // namespace bhyve::bus
