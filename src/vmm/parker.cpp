#include "vmm/parker.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace bhyve::vmm {

void Parker::park(Nanos deadline) {
  u32 expected = notified;
  if (word_.compare_exchange_strong(expected, empty)) return;
  expected = empty;
  if (!word_.compare_exchange_strong(expected, parked)) {
    word_.store(empty);
    return;
  }
  timespec until{};
  until.tv_sec = static_cast<time_t>(deadline / nanos_per_second);
  until.tv_nsec = static_cast<long>(deadline % nanos_per_second);
  // FUTEX_WAIT_BITSET takes an absolute time of CLOCK_MONOTONIC. Whatever ends it, the caller
  // looks.
  ::syscall(SYS_futex, &word_, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, u32{parked},
            deadline == never ? nullptr : &until, nullptr, FUTEX_BITSET_MATCH_ANY);
  word_.exchange(empty);
}

void Parker::wake() noexcept {
  if (word_.exchange(notified) == parked)
    ::syscall(SYS_futex, &word_, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, nullptr, nullptr, 0);
}

}  // namespace bhyve::vmm
