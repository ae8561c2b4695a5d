#pragma once
#include "base/types.hpp"

/// The memory map as PC firmware tells it (ACPI 6.4, 15.1, INT 15h E820h).
namespace bhyve::x86 {

enum class E820Type : u32 { ram = 1, reserved = 2, acpi_reclaimable = 3, acpi_nvs = 4 };

struct E820Entry final {
  u64 base = 0;
  u64 size = 0;
  E820Type type = E820Type::reserved;
  friend bool operator==(const E820Entry&, const E820Entry&) = default;
};

}  // namespace bhyve::x86
