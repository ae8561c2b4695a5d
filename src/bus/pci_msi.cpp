#include "bus/pci_msi.hpp"

#include <algorithm>
#include <bit>

namespace bhyve::bus {

namespace {

// Offsets in the capability.
constexpr unsigned control = 2, address_low = 4, address_high = 8, data = 12, mask = 16,
                   pending = 20;
// Message control.
using Enable = BitRange<0>;
using Capable = BitRange<3, 1>;
using Granted = BitRange<6, 4>;
using Is64 = BitRange<7>;
using PerVector = BitRange<8>;

}  // namespace

PciMsi::PciMsi(PciConfig& config, unsigned offset, unsigned vectors)
    : at_(offset),
      log2_vectors_(static_cast<unsigned>(
          std::countr_zero(std::bit_ceil(std::clamp(vectors, 1u, 32u))))) {
  config.set16(at_ + control, static_cast<u16>(Capable::make(log2_vectors_) | Is64::mask |
                                               PerVector::mask));
  config.allow(at_ + control, 2, Enable::mask | Granted::mask);
  config.allow(at_ + address_low, 4, ~u32{3});
  config.allow(at_ + address_high, 4, ~u32{0});
  config.allow(at_ + data, 2, 0xffff);
  config.allow(at_ + mask, 4, static_cast<u32>((u64{1} << (1u << log2_vectors_)) - 1));
}

bool PciMsi::enabled(const PciConfig& config) const {
  return Enable::get(config.get16(at_ + control)) != 0;
}

unsigned PciMsi::vectors_enabled(const PciConfig& config) const {
  const auto granted = static_cast<unsigned>(Granted::get(config.get16(at_ + control)));
  return 1u << std::min(granted, log2_vectors_);
}

MsiMessage PciMsi::message(const PciConfig& config, unsigned vector) const {
  const u64 address =
      config.get32(at_ + address_low) | u64{config.get32(at_ + address_high)} << 32;
  const u32 base = config.get16(at_ + data);
  return {address, (base & ~(vectors_enabled(config) - 1)) | vector};
}

void PciMsi::set_pending(PciConfig& config, u32 value) {
  pending_ = value;
  config.set32(at_ + pending, value);
}

void PciMsi::raise(PciConfig& config, unsigned vector, bool master, MsiMessages& out) {
  if (!enabled(config)) return;
  vector = std::min(vector, vectors_enabled(config) - 1);
  const u32 flag = u32{1} << vector;
  if (master && (config.get32(at_ + mask) & flag) == 0)
    out.push_back(message(config, vector));
  else
    set_pending(config, pending_ | flag);
}

void PciMsi::update(PciConfig& config, bool master, MsiMessages& out) {
  if (pending_ == 0) return;
  if (!enabled(config)) return set_pending(config, 0);
  if (!master) return;
  const u32 ready = pending_ & ~config.get32(at_ + mask);
  for (unsigned v = 0; v < vectors_enabled(config); ++v)
    if ((ready >> v & 1) != 0) out.push_back(message(config, v));
  set_pending(config, pending_ & ~ready);
}

void PciMsi::load(StateSection& in, PciConfig& config) { set_pending(config, in.get_u32()); }

}  // namespace bhyve::bus
