#include "bus/pci_bar.hpp"

#include "base/log.hpp"

namespace bhyve::bus {

void PciDecoder::place(PciBar& bar, std::optional<u64> address) {
  const std::lock_guard lock(mutex_);
  if (bar.wanted == address) return;
  const bool freed = bar.mapped;
  if (freed) unmap(bar);
  std::erase(waiting_, &bar);
  bar.wanted = address;
  if (address && !map(bar)) waiting_.push_back(&bar);
  if (freed) std::erase_if(waiting_, [this](PciBar* other) { return map(*other); });
}

bool PciDecoder::map(PciBar& bar) {
  const u64 at = *bar.wanted;
  Result<void> added;
  if (bar.pio != nullptr)
    added = ports_.add(static_cast<u32>(at), static_cast<u32>(bar.size), *bar.pio);
  else if (bar.mmio != nullptr)
    added = memory_.add(Gpa(at), bar.size, *bar.mmio);
  if (!added) {
    trace(Log::pci, "BAR not mapped: {}", added.error().message);
    return false;
  }
  bar.mapped = true;
  if (bar.moved) bar.moved(true, at);
  return true;
}

void PciDecoder::unmap(PciBar& bar) {
  const u64 at = *bar.wanted;
  if (bar.pio != nullptr)
    ports_.remove(static_cast<u32>(at));
  else if (bar.mmio != nullptr)
    memory_.remove(Gpa(at));
  bar.mapped = false;
  if (bar.moved) bar.moved(false, at);
}

}  // namespace bhyve::bus
