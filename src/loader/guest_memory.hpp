#pragma once
#include <span>

#include "base/address.hpp"
#include "base/error.hpp"
#include "base/types.hpp"

namespace bhyve::loader {

/// Guest RAM as a loader sees it, before the first instruction runs. One thread.
class GuestMemory {
 public:
  virtual ~GuestMemory() = default;
  /// Copies `bytes` to [gpa, gpa + size), which must lie in RAM.
  [[nodiscard]] virtual Result<void> write(Gpa gpa, std::span<const u8> bytes) = 0;
  [[nodiscard]] virtual u64 lowmem() const = 0;   ///< bytes of RAM from 0
  [[nodiscard]] virtual u64 highmem() const = 0;  ///< bytes of RAM from 4 GiB
};

}  // namespace bhyve::loader
