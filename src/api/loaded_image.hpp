#pragma once
#include <optional>

#include "api/vm_directory.hpp"
#include "machine/loaded_guest.hpp"

namespace bhyve::api {

/// What bhyveload leaves in a VM's directory: `memory.img` and `loaded` (registers, memory sizes).
/// Only both together count: `loaded` comes last and goes first.

/// True when the configuration itself names nothing to boot.
[[nodiscard]] bool needs_loaded_guest(const Config& config);
/// Nothing when the VM was not loaded.
[[nodiscard]] std::optional<machine::LoadedGuest> open_loaded_guest(const VmDirectory& vm);
/// The configuration with the memory size that bhyveload used, unless it sets one. EBADMSG when
/// what was left is damaged.
[[nodiscard]] Result<Config> with_loaded_memory(
    const Config& config, const std::optional<machine::LoadedGuest>& loaded);
/// The CPUs of the stopped VM (machine/stopped_vm.hpp), empty when nothing was left. They are in `vcpus`.
[[nodiscard]] std::vector<u8> read_stopped_vcpus(const VmDirectory& vm);
[[nodiscard]] Result<void> write_stopped_vcpus(const VmDirectory& vm, std::span<const u8> bytes);
/// memory.img for reading, or none.
[[nodiscard]] UniqueFd open_memory_image(const VmDirectory& vm);
/// Leaves memory and CPUs of a VM that a program drove, for a later run to go on from; what
/// bhyveload had left goes.
[[nodiscard]] Result<void> store_left_vm(const VmDirectory& vm, const mem::Vmspace& space,
                                         std::span<const u8> vcpus);
/// Loads the guest of `config` and replaces what an earlier bhyveload left.
[[nodiscard]] Result<void> store_loaded_guest(const VmDirectory& vm, const Config& config);

}  // namespace bhyve::api
