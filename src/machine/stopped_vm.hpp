#pragma once
#include <span>
#include <vector>

#include "base/error.hpp"
#include "vmm/vm.hpp"

/// The CPUs of a VM that nobody runs, in the saved-state format: registers, local APICs and clock chip.
/// Written when a run ends, for bhyvectl to look at, and when a program that drove the VM through the
/// library closes it; with the memory beside it the latter can go on.
namespace bhyve::machine {

struct StoppedHead final {
  u32 vcpus = 0;
  u64 lowmem = 0, highmem = 0;
  bool resumable = false;  ///< memory.img belongs to it
};

/// No vCPU is in run().
[[nodiscard]] std::vector<u8> save_stopped(vmm::Vm& vm, bool resumable);
/// EBADMSG and what is wrong.
[[nodiscard]] Result<StoppedHead> stopped_head(std::span<const u8> bytes);
/// Into a VM with as many vCPUs and as much memory: EINVAL tells of another one.
[[nodiscard]] Result<void> restore_stopped(vmm::Vm& vm, std::span<const u8> bytes);

}  // namespace bhyve::machine
