#include "platform/e820.hpp"

#include <algorithm>

#include "platform/layout.hpp"

namespace bhyve::platform {

std::vector<x86::E820Entry> make_e820(u64 lowmem, u64 highmem) {
  using x86::E820Type;
  std::vector<x86::E820Entry> map;
  const auto add = [&map](u64 first, u64 end, E820Type type) {
    if (end > first) map.push_back({first, end - first, type});
  };
  const u64 ebda = layout::ebda.value(), vga = layout::vga_window.value();
  add(0, std::min(lowmem, ebda), E820Type::ram);
  add(ebda, vga, E820Type::reserved);
  add(layout::bios_area.value(), MiB, E820Type::reserved);
  add(MiB, lowmem, E820Type::ram);
  add(layout::pci_ecam.value(), layout::pci_ecam.value() + layout::pci_ecam_size,
      E820Type::reserved);
  add(layout::highmem_base.value(), layout::highmem_base.value() + highmem, E820Type::ram);
  return map;
}

}  // namespace bhyve::platform
