#pragma once
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "host/event_loop.hpp"
#include "machine/vm_control.hpp"
#include "vmm/vm.hpp"

namespace bhyve::machine {

/// The host threads of the vCPUs, one each, named "vcpu N" and bound to the vCPU's host CPUs. The
/// event thread makes them: vCPU threads only ask.
class VcpuThreads final : public Pinning {
 public:
  /// Acts on an exit; false ends the thread. Runs on the vCPU's thread.
  using Handler = std::function<bool(vmm::Vcpu& vcpu, engine::Exit& exit)>;

  /// `cpusets` by vCPU, an empty one means any CPU of the process. `vm` and `loop` outlive this object.
  /// `confined`: the threads give up the system calls that they do not need.
  VcpuThreads(vmm::Vm& vm, host::EventLoop& loop, std::vector<std::vector<unsigned>> cpusets,
              bool confined, Handler handler);
  ~VcpuThreads();  ///< the VM is suspended: waits for all threads
  VcpuThreads(const VcpuThreads&) = delete;
  VcpuThreads& operator=(const VcpuThreads&) = delete;

  /// Has the vCPU run on a thread of its own soon; its last thread has ended or is about to. Any thread.
  void start(VcpuId id);
  /// Returns when no vCPU has a thread and none is about to get one. Not from the event thread.
  void wait();

  [[nodiscard]] std::vector<unsigned> affinity(VcpuId id) const override;
  [[nodiscard]] Result<void> set_affinity(VcpuId id, std::vector<unsigned> cpus) override;

 private:
  void make_thread(VcpuId id);
  void run(VcpuId id);
  void bind_new_thread(VcpuId id);
  [[nodiscard]] bool confine_new_thread(VcpuId id) const;
  void leave();

  vmm::Vm& vm_;
  host::EventLoop& loop_;
  const bool confined_;
  const Handler handler_;
  std::vector<std::thread> threads_;  ///< the event thread's; the owner's after wait()
  mutable std::mutex mutex_;
  std::vector<std::vector<unsigned>> cpusets_;  ///< under mutex_
  std::vector<pid_t> tids_;                     ///< under mutex_; 0: no thread now
  std::condition_variable ended_;
  u32 running_ = 0;  ///< under mutex_: threads that run or are asked for
};

}  // namespace bhyve::machine
