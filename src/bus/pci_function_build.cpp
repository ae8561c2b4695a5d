// What a derived class calls in its constructor: BARs and capabilities of a PciFunction.
#include <algorithm>
#include <bit>

#include "bus/pci_function.hpp"
#include "bus/pci_function_msix.hpp"

namespace bhyve::bus {

using namespace pci;

namespace {

constexpr u32 bar_is_io = 1, bar_is_64 = 4, bar_prefetchable = 8;
constexpr u32 rom_enable = 1;

}  // namespace

void PciFunction::define_bar(unsigned bar, PciBar::Kind kind, u64 size) {
  bars_[bar].kind = kind;
  bars_[bar].size = std::bit_ceil(size);
  bars_[bar].moved = [this, bar](bool mapped, u64 address) { on_bar(bar, mapped, address); };
}

void PciFunction::add_io_bar(unsigned bar, u64 size, Pio& role) {
  define_bar(bar, PciBar::Kind::io, std::clamp<u64>(size, 4, 256));
  bars_[bar].pio = &role;
  config_.set32(reg_bar0 + 4 * bar, bar_is_io);
  config_.allow(reg_bar0 + 4 * bar, 4, static_cast<u32>(~(bars_[bar].size - 1)));
}

void PciFunction::add_memory_bar(unsigned bar, PciBar::Kind kind, u64 size, Mmio* role,
                                 bool prefetchable) {
  const bool wide = kind == PciBar::Kind::mem64;
  define_bar(bar, wide ? kind : PciBar::Kind::mem32, std::max<u64>(size, 16));
  bars_[bar].mmio = role;
  bars_[bar].prefetchable = prefetchable;
  const u64 mask = ~(bars_[bar].size - 1);
  config_.set32(reg_bar0 + 4 * bar, (wide ? bar_is_64 : 0) | (prefetchable ? bar_prefetchable : 0));
  config_.allow(reg_bar0 + 4 * bar, 4, static_cast<u32>(mask));
  if (wide) config_.allow(reg_bar0 + 4 * bar + 4, 4, static_cast<u32>(mask >> 32));
}

void PciFunction::add_rom(u64 size, Mmio& role) {
  define_bar(rom_bar, PciBar::Kind::rom, std::max<u64>(size, 2 * KiB));
  bars_[rom_bar].mmio = &role;
  config_.allow(reg_rom, 4, static_cast<u32>(~(bars_[rom_bar].size - 1)) | rom_enable);
}

unsigned PciFunction::new_capability(u8 id, unsigned length) {
  const unsigned at = next_capability_;
  next_capability_ += static_cast<unsigned>(align_up(length, 4));
  config_.set8(last_capability_, static_cast<u8>(at));
  config_.set8(at, id);
  config_.set8(at + 1, 0);
  last_capability_ = at + 1;
  config_.set16(reg_status, config_.get16(reg_status) | status_capabilities);
  return at;
}

unsigned PciFunction::add_capability(u8 id, std::span<const u8> body) {
  const unsigned at = new_capability(id, 2 + static_cast<unsigned>(body.size()));
  for (unsigned i = 0; i < body.size(); ++i) config_.set8(at + 2 + i, body[i]);
  return at;
}

void PciFunction::add_msi(unsigned vectors) {
  const unsigned at = new_capability(cap_msi, PciMsi::length);
  msi_.emplace(config_, at, vectors);
}

void PciFunction::add_msix(unsigned vectors, unsigned bar) {
  const unsigned at = new_capability(cap_msix, PciMsix::length);
  msix_.emplace(config_, at, vectors, bar, 0);
  msix_window_ = std::make_unique<MsixWindow>(*this);
  add_memory_bar(bar, PciBar::Kind::mem32, std::max<u64>(msix_->end_offset(), page_size),
                 msix_window_.get());
}

void PciFunction::add_express(u8 type) {
  constexpr u8 express_length = 0x3c;
  std::array<u8, express_length - 2> body{};
  body[0] = static_cast<u8>(2 | type << 4);  // capability version 2, device/port type
  const unsigned at = add_capability(cap_express, body);
  // Device capabilities: role-based error reporting, which every device since 1.1 must show.
  config_.set32(at + 4, u32{1} << 15);
}

}  // namespace bhyve::bus
