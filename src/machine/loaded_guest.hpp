#pragma once
#include <span>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "bhyve/config.hpp"
#include "loader/entry_state.hpp"
#include "mem/vmspace.hpp"

namespace bhyve::machine {

/// What bhyveload leaves for bhyve: a sparse file of the populated pages (offset = guest-physical
/// address), and the size of memory and the registers of vCPU 0 in the saved-state format.
struct LoadedGuest final {
  UniqueFd memory;
  std::vector<u8> state;
  /// What a user of the library left instead: all vCPUs (machine/stopped_vm.hpp). Then `state` is empty.
  std::vector<u8> vcpus;
};

/// The second half, read and checked.
struct LoadedState final {
  u64 lowmem = 0, highmem = 0;
  loader::EntryState entry;
};
[[nodiscard]] std::vector<u8> save_loaded_state(const LoadedState& state);
/// EBADMSG and what is wrong.
[[nodiscard]] Result<LoadedState> parse_loaded_state(std::span<const u8> bytes);

/// bhyveload: loads the kernel of `config` into memory of its own and writes the populated pages to
/// `memory_fd`, an empty file. Returns the state. On failure (one sentence naming a file or
/// variable) the file's contents mean nothing.
[[nodiscard]] Result<std::vector<u8>> load_stopped_guest(const Config& config, int memory_fd);

/// Writes the populated pages of `space` to `memory_fd`, an empty file.
[[nodiscard]] Result<void> save_memory(const mem::Vmspace& space, int memory_fd);
/// Makes the populated pages of `memory_fd` those that `space` begins with. EBADMSG when they lie
/// outside of RAM.
[[nodiscard]] Result<void> restore_memory(mem::Vmspace& space, int memory_fd);

}  // namespace bhyve::machine
