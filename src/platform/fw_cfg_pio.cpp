#include "platform/fw_cfg_pio.hpp"

#include "bus/access.hpp"

namespace bhyve::platform {
namespace {

/// What the DMA address register reads, first byte first.
constexpr std::string_view dma_signature = "QEMU CFG";
constexpr unsigned low_half = 4;

constexpr u32 swap(u32 value) { return __builtin_bswap32(value); }

}  // namespace

u32 FwCfgPio::Registers::pio_read(u16 offset, unsigned size) {
  if (offset != 1 || size != 1) return static_cast<u32>(bus::all_ones(size));
  const std::lock_guard lock(owner_.mutex_);
  return owner_.chip_.next_byte();
}

void FwCfgPio::Registers::pio_write(u16 offset, unsigned size, u32 value) {
  if (offset != 0 || size != 2) return;
  const std::lock_guard lock(owner_.mutex_);
  owner_.chip_.select(static_cast<u16>(value));
}

u32 FwCfgPio::Dma::pio_read(u16 offset, unsigned size) {
  u32 value = 0;
  for (unsigned i = 0; i < size && offset + i < dma_signature.size(); ++i)
    value |= u32{static_cast<u8>(dma_signature[offset + i])} << (8 * i);
  return value;
}

void FwCfgPio::Dma::pio_write(u16 offset, unsigned size, u32 value) {
  if (size != 4 || offset % 4 != 0) return;
  const std::lock_guard lock(owner_.mutex_);
  if (offset != low_half) {
    owner_.address_high_ = swap(value);
    return;
  }
  const Gpa request(u64{owner_.address_high_} << 32 | swap(value));
  owner_.address_high_ = 0;
  owner_.chip_.dma(request, owner_.memory_);
}

void FwCfgPio::reset() {
  const std::lock_guard lock(mutex_);
  chip_.reset();
  address_high_ = 0;
}

void FwCfgPio::save(StateWriter& out) const {
  const std::lock_guard lock(mutex_);
  out.section("fw_cfg", 1, [this](StateWriter& w) {
    chip_.save(w);
    w.put_u32(address_high_);
  });
}

Result<void> FwCfgPio::load(const StateReader& in) {
  const std::lock_guard lock(mutex_);
  auto loaded = in.section("fw_cfg", 1, [this](StateSection& s) {
    chip_.load(s);
    address_high_ = s.get_u32();
  });
  if (!loaded) {
    chip_.reset();
    address_high_ = 0;
  }
  return loaded;
}

}  // namespace bhyve::platform
