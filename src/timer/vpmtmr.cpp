#include "timer/vpmtmr.hpp"

#include "timer/pio_bytes.hpp"

namespace bhyve::timer {

namespace {
constexpr unsigned ports = 4;
constexpr std::string_view section_name = "vpmtmr";
constexpr u32 section_version = 1;
}  // namespace

u32 VpmtmrPio::pio_read(u16 offset, unsigned size) {
  const std::lock_guard lock(lock_);
  const u32 count = chip_.read(monotonic_now());
  return read_bytes(offset, size, ports,
                    [&](unsigned port) { return static_cast<u8>(count >> (8 * port)); });
}

void VpmtmrPio::reset() {
  const std::lock_guard lock(lock_);
  chip_ = Vpmtmr(monotonic_now());
}

void VpmtmrPio::save(StateWriter& out) const {
  const std::lock_guard lock(lock_);
  out.section(section_name, section_version,
              [this](StateWriter& w) { chip_.save(w, monotonic_now()); });
}

Result<void> VpmtmrPio::load(const StateReader& in) {
  const std::lock_guard lock(lock_);
  Vpmtmr chip(monotonic_now());
  Result<void> result = in.section(section_name, section_version,
                                   [&](StateSection& s) { chip.load(s, monotonic_now()); });
  chip_ = result ? chip : Vpmtmr(monotonic_now());
  return result;
}

}  // namespace bhyve::timer
