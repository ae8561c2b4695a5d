#pragma once
#include <string_view>
#include <vector>

#include "base/error.hpp"

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
/// Binds the calling thread to the given host CPUs. Fails with the kernel's errno.
[[nodiscard]] Result<void> set_this_thread_affinity(const std::vector<unsigned>& cpus);

}  // namespace bhyve
