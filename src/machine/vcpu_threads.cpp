#include "machine/vcpu_threads.hpp"

#include <unistd.h>

#include <algorithm>
#include <system_error>

#include "base/confinement.hpp"
#include "base/log.hpp"
#include "base/thread.hpp"

namespace bhyve::machine {

VcpuThreads::VcpuThreads(vmm::Vm& vm, host::EventLoop& loop,
                         std::vector<std::vector<unsigned>> cpusets, bool confined,
                         Handler handler)
    : vm_(vm),
      loop_(loop),
      confined_(confined),
      handler_(std::move(handler)),
      threads_(vm.vcpu_count()),
      cpusets_(std::move(cpusets)),
      tids_(vm.vcpu_count()) {
  cpusets_.resize(vm.vcpu_count());
}

VcpuThreads::~VcpuThreads() {
  wait();
  for (std::thread& thread : threads_)
    if (thread.joinable()) thread.join();
}

void VcpuThreads::start(VcpuId id) {
  {
    const std::lock_guard lock(mutex_);
    ++running_;
  }
  loop_.post([this, id] { make_thread(id); });
}

void VcpuThreads::make_thread(VcpuId id) {
  std::thread& thread = threads_[id];
  // A vCPU that was spun down: its thread is on its last lines.
  if (thread.joinable()) thread.join();
  try {
    thread = std::thread([this, id] { run(id); });
  } catch (const std::system_error& error) {
    log_error("vCPU {}: cannot make its thread: {}", id, error.what());
    (void)vm_.suspend(abi::SuspendHow::poweroff);
    leave();
  }
}

void VcpuThreads::run(VcpuId id) {
  block_async_signals();
  name_this_thread(fmt::format("vcpu {}", id));
  bind_new_thread(id);
  if (confine_new_thread(id)) {
    vmm::Vcpu& vcpu = vm_.vcpu(id);
    engine::Exit exit;
    do vcpu.run(exit);
    while (handler_(vcpu, exit));
  } else {
    (void)vm_.suspend(abi::SuspendHow::poweroff);
  }
  {
    const std::lock_guard lock(mutex_);
    tids_[id] = 0;
  }
  leave();
}

void VcpuThreads::bind_new_thread(VcpuId id) {
  const std::lock_guard lock(mutex_);
  tids_[id] = ::gettid();
  if (cpusets_[id].empty()) return;
  if (const auto bound = set_thread_affinity(tids_[id], cpusets_[id]); !bound)
    log_warn("vCPU {}: cannot be pinned: {}", id, bound.error().message);
}

/// False: the vCPU must not run.
bool VcpuThreads::confine_new_thread(VcpuId id) const {
  if (!confined_) return true;
  const auto done = confine_this_thread(Confinement::vcpu, vm_.engine().traced_process());
  if (!done) log_error("vCPU {}: {}", id, done.error().message);
  return done.has_value();
}

std::vector<unsigned> VcpuThreads::affinity(VcpuId id) const {
  const std::lock_guard lock(mutex_);
  return cpusets_[id];
}

Result<void> VcpuThreads::set_affinity(VcpuId id, std::vector<unsigned> cpus) {
  // The main thread was never bound: what it may use, the process may.
  const auto allowed = thread_affinity(::getpid());
  for (const unsigned cpu : cpus)
    if (!std::binary_search(allowed.begin(), allowed.end(), cpu))
      return fail(EINVAL, "host CPU {} does not exist or is not this process's", cpu);
  // While it runs, an engine may hold the thread on one CPU, and then has it as it was before.
  Result<void> done;
  vm_.with_frozen(id, vmm::Vcpu::FreezeAt::any, [&](vmm::Vcpu&) {
    const std::lock_guard lock(mutex_);
    if (tids_[id] != 0) done = set_thread_affinity(tids_[id], cpus.empty() ? allowed : cpus);
    if (done) cpusets_[id] = std::move(cpus);
  });
  return done;
}

void VcpuThreads::leave() {
  const std::lock_guard lock(mutex_);
  if (--running_ == 0) ended_.notify_all();
}

void VcpuThreads::wait() {
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [this] { return running_ == 0; });
}

}  // namespace bhyve::machine
