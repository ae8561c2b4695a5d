#include "bus/pci_bar_space.hpp"

#include <utility>

#include "base/bits.hpp"

namespace bhyve::bus {
namespace {

constexpr u64 largest_below_4g = 128 * MiB;

}  // namespace

PciBarSpace::PciBarSpace(std::vector<Range> ports, Range memory32, Range memory64)
    : ports_(std::move(ports)), memory32_{memory32}, memory64_{memory64} {}

/// First fit. Sizes are powers of two, and so are alignments.
std::optional<u64> PciBarSpace::take(Ranges& free, u64 size) {
  for (auto it = free.begin(); it != free.end(); ++it) {
    const Range range = *it;
    const u64 at = align_up(range.first, size);
    if (at >= range.end || range.end - at < size) continue;
    *it = {at + size, range.end};
    if (at != range.first) free.insert(it, {range.first, at});
    return at;
  }
  return std::nullopt;
}

std::optional<u64> PciBarSpace::take(PciBar::Kind kind, u64 size) {
  if (kind == PciBar::Kind::mem64 && size > largest_below_4g) return take(memory64_, size);
  return take(kind == PciBar::Kind::io ? ports_ : memory32_, size);
}

Result<void> PciBarSpace::place(PciFunction& function) {
  for (unsigned bar = 0; bar <= PciFunction::rom_bar; ++bar) {
    const PciBar::Kind kind = function.bar_kind(bar);
    if (kind == PciBar::Kind::none) continue;
    const u64 size = function.bar_size(bar);
    const auto at = take(kind, size);
    if (!at) return fail(ENOSPC, "BAR {}: no room for {:#x} bytes", bar, size);
    if (auto ok = function.set_bar_address(bar, *at); !ok) return ok;
  }
  return {};
}

}  // namespace bhyve::bus
