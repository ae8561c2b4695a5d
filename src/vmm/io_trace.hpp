#pragma once
#include <atomic>
#include <mutex>
#include <vector>

#include "base/clock.hpp"
#include "base/types.hpp"

namespace bhyve::vmm {

/// The last port and device-memory accesses of all vCPUs, while somebody asks for them. It stops by
/// itself when nobody has for a whole ring of them, so that a reader may die.
/// Thread safety: any thread.
class IoTrace final {
 public:
  struct Access {
    u64 sequence = 0;  ///< counts all accesses since tracing began
    Nanos time = 0;
    u64 address = 0, value = 0;
    VcpuId vcpu = 0;
    u8 size = 0;
    bool memory = false, write = false;
  };
  static constexpr usize capacity = 32768;

  /// Keeps an access that is done; `value` is what was written or read. Costs a load while off.
  void note(VcpuId vcpu, bool memory, Dir dir, u64 address, unsigned size, u64 value) {
    if (on_.load(std::memory_order_relaxed)) [[unlikely]] keep({0, 0, address, value, vcpu,
                                                                static_cast<u8>(size), memory,
                                                                dir == Dir::write});
  }

  /// Accesses from number `from` on, at most `most`; those that are gone are left out. Begins to
  /// trace when it was off. `next` is the number after the last one given.
  [[nodiscard]] std::vector<Access> take(u64 from, usize most, u64& next);
  void stop();

 private:
  void keep(Access access);

  std::atomic<bool> on_{false};
  std::mutex mutex_;  ///< guards what follows
  std::vector<Access> ring_;
  u64 kept_from_ = 0; ///< the ring's first number since tracing began last
  u64 next_ = 0;      ///< number of the next access
  u64 asked_at_ = 0;  ///< next_ when somebody last asked
};

}  // namespace bhyve::vmm
