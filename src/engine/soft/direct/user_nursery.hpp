#pragma once
#include <sys/types.h>
#include <sys/user.h>

#include <memory>
#include <mutex>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/types.hpp"
#include "engine/soft/direct/user_process.hpp"

namespace bhyve::soft {

/// The process that all UserProcesses of a VM descend from. It is made before the VM's threads give up making
/// and tracing processes, has nothing mapped but our own code, and sleeps; a vCPU's thread attaches to it to
/// have a copy made, which is then that thread's.
/// Thread safety: spawn() from any thread.
class UserNursery final {
 public:
  /// `ram` is guest RAM's memory file, whose owner outlives this. The process ends with the calling thread.
  /// Fails where the host does not let a process be made, traced, or kept from reading the clock.
  [[nodiscard]] static Result<std::unique_ptr<UserNursery>> create(int ram, u32 vcpus);
  ~UserNursery();
  UserNursery(const UserNursery&) = delete;
  UserNursery& operator=(const UserNursery&) = delete;

  /// A new process for vCPU `vcpu`, whose thread is the calling one; only one of them runs at a time.
  [[nodiscard]] Result<std::unique_ptr<UserProcess>> spawn(VcpuId vcpu);

  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  explicit UserNursery(int ram) : memory_(ram) {}
  [[nodiscard]] Result<void> make_service(u32 vcpus);
  [[nodiscard]] bool attach(user_regs_struct& registers);
  void detach(const user_regs_struct& registers);
  [[nodiscard]] pid_t copy(const user_regs_struct& registers, VcpuId vcpu);
  [[nodiscard]] std::byte* commands(u32 n) const {
    return service_ + page_size + n * UserProcess::commands_bytes;
  }

  const int memory_;
  UniqueFd service_file_;          ///< our code, then the nursery's commands, then each vCPU's
  std::byte* service_ = nullptr;
  usize service_bytes_ = 0;
  pid_t pid_ = -1;
  std::mutex mutex_;               ///< one thread at a time traces the nursery
};

}  // namespace bhyve::soft
