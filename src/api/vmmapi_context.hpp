#pragma once
#include <cerrno>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/types.hpp"
#include "bhyve/compat/machine/vmm_dev.h"
#include "bhyve/own_vm.hpp"
#include "bhyve/vmmapi.h"

/// What stands behind the handles of the C interface.
namespace bhyve::api {

/// A VM of this process, shared by its handles. It is taken over when something first needs it, so that
/// size and topology can be set before.
class SharedVm final {
 public:
  explicit SharedVm(std::string name) : name_(std::move(name)) {}

  /// The VM of that name that this process has, or a new object.
  [[nodiscard]] static std::shared_ptr<SharedVm> of(const std::string& name);
  /// The same, or nothing.
  [[nodiscard]] static std::shared_ptr<SharedVm> find(const std::string& name);

  [[nodiscard]] Result<OwnVm*> own();
  [[nodiscard]] bool taken() const;
  /// Sets variables, as long as the VM is not taken over: EBUSY.
  [[nodiscard]] Result<void> configure(const Config& changes);
  [[nodiscard]] Result<void> set_memory(u64 bytes);
  [[nodiscard]] Result<void> destroy();

  /// How far a vCPU is with the instruction for which it left (vmmapi_run.cpp).
  struct Run {
    VcpuExit exit;
    u64 rax = 0;           ///< at the exit
    bool string = false;   ///< INS or OUTS
    bool reloaded = false; ///< the program wrote registers since: the instruction starts over
    bool restart = false;  ///< vm_restart_instruction() or an exception: do not answer
  };
  [[nodiscard]] Run& run_of(unsigned cpu);
  void note_reload(int cpu, bool restart);

 private:
  const std::string name_;
  mutable std::mutex mutex_;
  std::optional<OwnVm> vm_;
  std::map<unsigned, Run> runs_;
};

/// errno for the C caller.
inline int answer(const Result<void>& result) {
  if (result) return 0;
  errno = result.error().code;
  return -1;
}
inline int invalid() {
  errno = EINVAL;
  return -1;
}
template <class T, class Into>
int answer(const Result<T>& result, Into* into) {
  if (!into) return invalid();
  if (!result) {
    errno = result.error().code;
    return -1;
  }
  *into = static_cast<Into>(*result);
  return 0;
}

/// Runs `call` and gives its value; C callers see no exception but ENOMEM, for which `failed` stands.
template <class Value, class Call>
Value guarded(Value failed, Call call) noexcept {
  try {
    return call();
  } catch (const std::exception&) {
    errno = ENOMEM;
    return failed;
  }
}

}  // namespace bhyve::api

struct vmctx final {
  std::string name;
  std::shared_ptr<bhyve::api::SharedVm> shared;  ///< none: another process runs it
  std::mutex mutex;                              ///< guards control
  std::optional<bhyve::Control> control;
  uint32_t lowmem_limit = 0xc000'0000;
  int memflags = 0;
  std::vector<std::string> stat_texts;

  /// Calls `use` with a connection to the VM.
  template <class Use>
  auto with_control(Use use) -> decltype(use(*control)) {
    const std::lock_guard lock(mutex);
    if (!control) {
      auto own = shared->own();
      if (!own) return tl::make_unexpected(own.error());
      control.emplace((*own)->control());
    }
    return use(*control);
  }
  /// The VM of this process: EBUSY when another runs it.
  [[nodiscard]] bhyve::Result<bhyve::OwnVm*> own();
};

struct vcpu final {
  vmctx* ctx;
  int id;
  std::vector<uint64_t> stats;
  uint64_t entry_inst_length = 0;  ///< of an instruction whose exception is injected next

  /// Calls `use(control, cpu)`; EINVAL for the vCPU that stands for all.
  template <class Use>
  auto with(Use use) -> decltype(use(*ctx->control, 0u)) {
    if (id < 0) return tl::make_unexpected(bhyve::Error{EINVAL, "expected one vCPU"});
    return ctx->with_control(
        [&](bhyve::Control& control) { return use(control, static_cast<unsigned>(id)); });
  }
};
