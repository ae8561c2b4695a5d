#pragma once
#include <sys/types.h>

#include <optional>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/types.hpp"

namespace bhyve {

/// Names the calling thread (cut to 15 bytes, the kernel's limit).
void name_this_thread(std::string_view name);
/// Blocks every asynchronous signal in the calling thread; the synchronous ones (SEGV, BUS, FPE,
/// ILL, TRAP) stay open. vCPU, callout and event threads call this first.
void block_async_signals();
/// Asks the scheduler for short slices: a thread that runs briefly when its time has come is then
/// chosen soon, however many others compute (guest timers on a busy host). Needs no right; older
/// kernels ignore it.
void prefer_short_slices();
/// The calling thread prefers short slices for as long as this lives, then those that it had.
class ShortSlices final {
 public:
  ShortSlices();
  ~ShortSlices();
  ShortSlices(const ShortSlices&) = delete;
  ShortSlices& operator=(const ShortSlices&) = delete;

 private:
  std::optional<u64> before_;  ///< empty: nothing to put back
};
/// Binds a thread of this process to the given host CPUs; 0 is the calling one. Fails with the
/// kernel's errno.
[[nodiscard]] Result<void> set_thread_affinity(pid_t thread, const std::vector<unsigned>& cpus);
/// The host CPUs on which a thread may run, ascending; 0 is the calling one.
[[nodiscard]] std::vector<unsigned> thread_affinity(pid_t thread);

}  // namespace bhyve
