#include "mem/host_backing.hpp"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/address.hpp"

namespace bhyve::mem {

namespace {

/// What the signal handler may look at: slots of fixed places, taken by their first word. Mappings
/// and listeners beyond the last slot are not covered; a VM has a few of the ones, one of the others.
constexpr unsigned slots = 1024;

struct Range {
  std::atomic<u64> size{0};  ///< 0: free; 1: taken, not set yet (covers nothing but its base)
  std::atomic<u64> base{0};
  std::atomic<bool> lost{false};
};
std::array<Range, slots> ranges;

/// Event fds of listeners, plus one; 0 is a free slot.
std::array<std::atomic<int>, slots> listeners;

}  // namespace

HostBacking::HostBacking(void* base, u64 size) : slot_(slots) {
  for (unsigned n = 0; n < slots; ++n) {
    u64 free = 0;
    if (!ranges[n].size.compare_exchange_strong(free, 1)) continue;
    ranges[n].lost.store(false);
    ranges[n].base.store(reinterpret_cast<u64>(base));
    ranges[n].size.store(size);
    slot_ = n;
    return;
  }
}

HostBacking::~HostBacking() {
  if (slot_ == slots) return;
  ranges[slot_].base.store(0);
  ranges[slot_].size.store(0);
}

bool HostBacking::lost() const noexcept { return slot_ != slots && ranges[slot_].lost.load(); }

bool HostBacking::replace(u64 address) noexcept {
  for (Range& range : ranges) {
    const u64 base = range.base.load();
    if (!base || address - base >= range.size.load()) continue;
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    void* page = reinterpret_cast<void*>(address & ~page_mask);
    if (::mmap(page, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
               0) == MAP_FAILED)
      return false;
    range.lost.store(true);
    const int saved = errno;
    for (const auto& listener : listeners) {
      const u64 one = 1;
      const int fd = listener.load() - 1;
      if (fd >= 0 && ::write(fd, &one, sizeof one) < 0) continue;  // full: readable already
    }
    errno = saved;
    return true;
  }
  return false;
}

LostBackingEvent::LostBackingEvent() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  for (auto& listener : listeners) {
    int free = 0;
    if (fd_ && listener.compare_exchange_strong(free, fd_.get() + 1)) return;
  }
}

LostBackingEvent::~LostBackingEvent() {
  for (auto& listener : listeners) {
    int mine = fd_.get() + 1;
    if (fd_ && listener.compare_exchange_strong(mine, 0)) return;
  }
}

}  // namespace bhyve::mem
