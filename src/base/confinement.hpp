#pragma once
#include "base/error.hpp"
#include "base/types.hpp"

namespace bhyve {

/// What a thread of a running VM is for, and so which system calls it keeps (docs/isolation.md). Each
/// may do what the ones before it may, and no more than is said here. None may make memory executable,
/// start a program, trace what is not traced yet, or open a connection.
enum class Confinement : u8 {
  worker,  ///< callouts, signals: memory, waiting, and descriptors that are open
  vcpu,    ///< vCPUs: a worker that drives the processes which it traces already
  events,  ///< the event thread: also takes connections and makes threads
  caller,  ///< who called run_vm() and cleans up after it, the control thread: also files
};

/// False in builds in which confine_this_thread() does nothing: the sanitizers' own code needs calls
/// that are not ours to allow.
[[nodiscard]] bool confinement_is_built_in() noexcept;

/// Takes all other system calls away from the calling thread and from threads that it makes later, for
/// good (a seccomp filter; they fail with EPERM). Threads of vCPUs, and those that make them, may attach to
/// process `traced` and its copies alone. Fails with the kernel's errno where there are no
/// filters.
[[nodiscard]] Result<void> confine_this_thread(Confinement kind, int traced = 0);

}  // namespace bhyve
