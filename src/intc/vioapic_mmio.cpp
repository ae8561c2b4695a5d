#include "intc/vioapic_mmio.hpp"

namespace bhyve::intc {
namespace {

constexpr u32 state_version = 1;

}  // namespace

VioapicMmio::VioapicMmio(LapicBus& bus, unsigned pins)
    : bus_(bus),
      chip_(pins,
            [&bus](const LapicMessage& message) {
              // SIPI exists in the ICR alone: 110 is reserved in a redirection entry.
              return message.mode != DeliveryMode::startup && bus.deliver(message);
            }),
      join_(pins, lock_, [this](unsigned n, bool level) { chip_.set_pin(n, level); }) {
  bus_.set_eoi_sink(this);
}

VioapicMmio::~VioapicMmio() { bus_.set_eoi_sink(nullptr); }

u64 VioapicMmio::mmio_read(u64 offset, unsigned size, VcpuId) {
  if (size != 4 || offset > Vioapic::reg_eoi) return 0;
  const std::lock_guard guard(lock_);
  return chip_.read(static_cast<u32>(offset));
}

void VioapicMmio::mmio_write(u64 offset, unsigned size, u64 value, VcpuId) {
  if (size != 4 || offset > Vioapic::reg_eoi) return;
  const std::lock_guard guard(lock_);
  chip_.write(static_cast<u32>(offset), static_cast<u32>(value));
}

void VioapicMmio::eoi(u8 vector) {
  const std::lock_guard guard(lock_);
  chip_.eoi(vector);
}

void VioapicMmio::reset() {
  const std::lock_guard guard(lock_);
  chip_.reset();
}

void VioapicMmio::save(StateWriter& out) const {
  const std::lock_guard guard(lock_);
  out.section("vioapic", state_version, [&](StateWriter& w) {
    chip_.save(w);
    join_.save(w);
  });
}

Result<void> VioapicMmio::load(const StateReader& in) {
  const std::lock_guard guard(lock_);
  auto result = in.section("vioapic", state_version, [&](StateSection& r) {
    chip_.load(r);
    join_.load(r);
    for (unsigned n = 0; n < chip_.pins(); ++n) {
      if (chip_.level(n) != join_.level(n)) r.reject();
    }
  });
  if (!result) {
    chip_.reset();
    for (unsigned n = 0; n < chip_.pins(); ++n) chip_.set_pin(n, join_.level(n));
  }
  return result;
}

}  // namespace bhyve::intc
