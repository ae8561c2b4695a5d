#include "bus/pci_host.hpp"

#include "bus/access.hpp"

namespace bhyve::bus {

namespace {

bool valid(unsigned offset, unsigned size) {
  return (size == 1 || size == 2 || size == 4) && offset % size == 0 &&
         offset < PciConfig::extended;
}

}  // namespace

Result<void> PciHost::add(pci::Bdf at, PciFunction& function) {
  if (!functions_.add(at.raw(), at.raw(), function))
    return fail(EEXIST, "PCI {}:{}:{} is already taken", at.bus(), at.slot(), at.function());
  present_[at.raw() >> 3].fetch_or(static_cast<u8>(1u << at.function()));
  return {};
}

bool PciHost::remove(pci::Bdf at) {
  if (!functions_.remove(at.raw())) return false;
  present_[at.raw() >> 3].fetch_and(static_cast<u8>(~(1u << at.function())));
  return true;
}

u32 PciHost::read(pci::Bdf at, unsigned offset, unsigned size) {
  const u32 ones = static_cast<u32>(all_ones(size));
  if (!valid(offset, size)) return ones;
  const auto pin = functions_.find(at.raw(), at.raw());
  if (!pin) return ones;
  u32 value = pin.target().config_read(offset, size);
  const unsigned header = pci::reg_header_type;
  const bool multi = (present_[at.raw() >> 3].load(std::memory_order_relaxed) & ~1u) != 0;
  if (multi && offset <= header && header < offset + size)
    value |= u32{pci::header_multifunction} << (8 * (header - offset));
  return value & ones;
}

void PciHost::write(pci::Bdf at, unsigned offset, unsigned size, u32 value) {
  if (!valid(offset, size)) return;
  const auto pin = functions_.find(at.raw(), at.raw());
  if (pin) pin.target().config_write(offset, size, value & static_cast<u32>(all_ones(size)));
}

}  // namespace bhyve::bus
