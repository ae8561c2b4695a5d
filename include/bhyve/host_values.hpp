#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bhyve {

/// A value of this host or build, under the name that FreeBSD's sysctl(8) has for it.
struct HostValue final {
  std::string name;
  std::string meaning;
  std::uint64_t value = 0;
  /// Of a counter: the text of the statistic that each VM counts in; `value` is then the caller's to
  /// sum. Else empty.
  std::string statistic;
};

/// vm.pmap.* and hw.vmm.*, in order of name. Needs no VM.
[[nodiscard]] std::vector<HostValue> host_values();

}  // namespace bhyve
