#pragma once
#include <array>
#include <atomic>
#include <string_view>

#include "base/types.hpp"

namespace bhyve::vmm {

/// Counters of one vCPU. The texts are FreeBSD's: they are the names that users see.
enum class Stat : u8 {
  migrations,
  exits,
  hlt,
  rdmsr,
  wrmsr,
  pause,
  inout,
  mtrap,
  paging,
  inst_emul,
  unknown,
  reqidle,
  rendezvous,
  userspace,
  runtime,
  idle,
  nmis,
  extints,
  count
};
inline constexpr usize stat_count = static_cast<usize>(Stat::count);

[[nodiscard]] std::string_view stat_text(Stat stat);

/// Written by the vCPU's own thread alone (so an increment is no locked operation), read by any.
class VcpuStats final {
 public:
  void add(Stat stat, u64 n = 1) {
    std::atomic<u64>& value = values_[static_cast<usize>(stat)];
    value.store(value.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  [[nodiscard]] u64 get(Stat stat) const {
    return values_[static_cast<usize>(stat)].load(std::memory_order_relaxed);
  }

 private:
  std::array<std::atomic<u64>, stat_count> values_{};
};

}  // namespace bhyve::vmm
