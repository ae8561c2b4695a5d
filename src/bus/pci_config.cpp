#include "bus/pci_config.hpp"

#include "bus/access.hpp"

namespace bhyve::bus {

namespace {

constexpr bool valid(unsigned offset, unsigned size) {
  return (size == 1 || size == 2 || size == 4) && offset % size == 0 &&
         offset < PciConfig::extended;
}

}  // namespace

u32 PciConfig::read(unsigned offset, unsigned size) const {
  const u32 ones = static_cast<u32>(all_ones(size));
  if (!valid(offset, size)) return ones;
  if (offset >= this->size()) return offset < conventional + 4 ? 0 : ones;
  return get(offset, size);
}

void PciConfig::write(unsigned offset, unsigned size, u32 value) {
  if (!valid(offset, size) || offset >= this->size()) return;
  for (unsigned i = 0; i < size; ++i) {
    Byte& byte = bytes_[offset + i];
    const u8 in = static_cast<u8>(value >> (8 * i));
    byte.value = static_cast<u8>((byte.value & ~byte.writable) | (in & byte.writable));
    byte.value = static_cast<u8>(byte.value & ~(in & byte.clearable));
  }
}

void PciConfig::allow(unsigned offset, unsigned size, u32 mask) {
  for (unsigned i = 0; i < size; ++i) bytes_[offset + i].writable = static_cast<u8>(mask >> (8 * i));
}

void PciConfig::allow_clear(unsigned offset, unsigned size, u32 mask) {
  for (unsigned i = 0; i < size; ++i)
    bytes_[offset + i].clearable = static_cast<u8>(mask >> (8 * i));
}

void PciConfig::reset() {
  for (Byte& b : bytes_) {
    const unsigned changeable = b.writable | b.clearable;
    b.value = static_cast<u8>((b.value & ~changeable) | (b.home & changeable));
  }
}

void PciConfig::save(StateWriter& out) const {
  out.put_u32(size());
  for (const Byte& b : bytes_) out.put_u8(b.value & (b.writable | b.clearable));
}

void PciConfig::load(StateSection& in) {
  if (in.get_u32() != size()) return in.reject();
  std::vector<u8> saved(size());
  in.get_bytes(saved);
  if (!in.ok()) return;
  for (unsigned i = 0; i < size(); ++i) {
    Byte& b = bytes_[i];
    const unsigned changeable = b.writable | b.clearable;
    b.value = static_cast<u8>((b.value & ~changeable) | (saved[i] & changeable));
  }
}

u32 PciConfig::get(unsigned offset, unsigned size) const {
  u32 value = 0;
  for (unsigned i = 0; i < size; ++i) value |= u32{bytes_[offset + i].value} << (8 * i);
  return value;
}

void PciConfig::set(unsigned offset, unsigned size, u32 value) {
  for (unsigned i = 0; i < size; ++i) {
    Byte& byte = bytes_[offset + i];
    byte.value = byte.home = static_cast<u8>(value >> (8 * i));
  }
}

}  // namespace bhyve::bus
