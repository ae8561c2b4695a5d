#include "bus/pci_config_ports.hpp"

#include "bus/access.hpp"

namespace bhyve::bus {

namespace {

// CF8h.
using Enabled = BitRange<31>;
using Function = BitRange<23, 8>;
using Register = BitRange<7, 2>;
constexpr u32 address_writable = Enabled::mask | Function::mask | Register::mask;

constexpr u16 offset_reset = 1, offset_data = 4;

}  // namespace

u32 PciConfigPorts::pio_read(u16 offset, unsigned size) {
  if (offset == 0 && size == 4) return address_;
  if (offset == offset_reset && size == 1 && reset_control_ != nullptr)
    return reset_control_->pio_read(0, 1);
  const u32 address = address_;
  if (offset < offset_data || Enabled::get(address) == 0) return static_cast<u32>(all_ones(size));
  return host_.read(pci::Bdf(static_cast<u16>(Function::get(address))),
                    static_cast<unsigned>(Register::get(address) * 4 + (offset - offset_data)),
                    size);
}

void PciConfigPorts::pio_write(u16 offset, unsigned size, u32 value) {
  if (offset == 0 && size == 4) {
    address_ = value & address_writable;
  } else if (offset == offset_reset && size == 1 && reset_control_ != nullptr) {
    reset_control_->pio_write(0, 1, value);
  } else if (const u32 address = address_; offset >= offset_data && Enabled::get(address) != 0) {
    host_.write(pci::Bdf(static_cast<u16>(Function::get(address))),
                static_cast<unsigned>(Register::get(address) * 4 + (offset - offset_data)), size,
                value);
  }
}

void PciConfigPorts::save(StateWriter& out) const {
  out.section("pci.ports", 1, [this](StateWriter& w) { w.put_u32(address_); });
}

Result<void> PciConfigPorts::load(const StateReader& in) {
  auto loaded = in.section("pci.ports", 1,
                           [this](StateSection& s) { address_ = s.get_u32() & address_writable; });
  if (!loaded) reset();
  return loaded;
}

}  // namespace bhyve::bus
