#include "machine/vcpu_threads.hpp"

#include <system_error>

#include "base/log.hpp"
#include "base/thread.hpp"

namespace bhyve::machine {

VcpuThreads::VcpuThreads(vmm::Vm& vm, host::EventLoop& loop,
                         const std::vector<std::vector<unsigned>>& cpusets, Handler handler)
    : vm_(vm),
      loop_(loop),
      cpusets_(cpusets),
      handler_(std::move(handler)),
      threads_(vm.vcpu_count()) {}

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
  if (id < cpusets_.size() && !cpusets_[id].empty()) {
    if (const auto bound = set_this_thread_affinity(cpusets_[id]); !bound)
      log_warn("vCPU {}: cannot be pinned: {}", id, bound.error().message);
  }
  vmm::Vcpu& vcpu = vm_.vcpu(id);
  engine::Exit exit;
  do vcpu.run(exit);
  while (handler_(vcpu, exit));
  leave();
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
