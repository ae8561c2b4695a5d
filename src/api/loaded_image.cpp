#include "api/loaded_image.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "api/small_file.hpp"
#include "machine/stopped_vm.hpp"

namespace bhyve::api {
namespace {

constexpr usize max_state = 64 * KiB, max_vcpus = 4 * MiB;

[[nodiscard]] UniqueFd create_file(const VmDirectory& vm, const char* file) {
  constexpr int flags = O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;
  return UniqueFd(::openat(vm.fd(), file, flags, 0600));
}

[[nodiscard]] bool write_whole(const VmDirectory& vm, const char* file, std::span<const u8> bytes) {
  const UniqueFd fd = create_file(vm, file);
  while (fd && !bytes.empty()) {
    const ssize_t n = ::write(fd.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes = bytes.subspan(static_cast<usize>(n));
  }
  return static_cast<bool>(fd);
}

[[nodiscard]] bool rename_in(const VmDirectory& vm, const char* from, const char* to) {
  return ::renameat(vm.fd(), from, vm.fd(), to) == 0;
}

}  // namespace

bool needs_loaded_guest(const Config& config) {
  return !config.has("boot.kernel") && !config.has("lpc.bootrom");
}

std::vector<u8> read_stopped_vcpus(const VmDirectory& vm) {
  const std::string bytes = read_small_file(vm.fd(), "vcpus", max_vcpus);
  return {bytes.begin(), bytes.end()};
}

Result<void> write_stopped_vcpus(const VmDirectory& vm, std::span<const u8> bytes) {
  if (write_whole(vm, "vcpus.new", bytes) && rename_in(vm, "vcpus.new", "vcpus")) return {};
  return fail(errno, "VM '{}': cannot write its vcpus: {}", vm.name(), std::strerror(errno));
}

Result<void> store_left_vm(const VmDirectory& vm, const mem::Vmspace& space,
                           std::span<const u8> vcpus) {
  const UniqueFd memory = create_file(vm, "memory.new");
  if (!memory)
    return fail(errno, "VM '{}': cannot write its memory.img: {}", vm.name(), std::strerror(errno));
  if (auto ok = machine::save_memory(space, memory.get()); !ok) {
    ::unlinkat(vm.fd(), "memory.new", 0);
    return fail(ok.error().code, "VM '{}': {}", vm.name(), ok.error().message);
  }
  for (const char* file : {"loaded", "vcpus"}) ::unlinkat(vm.fd(), file, 0);
  if (!rename_in(vm, "memory.new", "memory.img"))
    return fail(errno, "VM '{}': cannot replace its memory.img: {}", vm.name(), std::strerror(errno));
  return write_stopped_vcpus(vm, vcpus);
}

UniqueFd open_memory_image(const VmDirectory& vm) {
  return UniqueFd(::openat(vm.fd(), "memory.img", O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
}

std::optional<machine::LoadedGuest> open_loaded_guest(const VmDirectory& vm) {
  std::vector<u8> vcpus = read_stopped_vcpus(vm);
  if (const auto head = machine::stopped_head(vcpus); head && head->resumable)
    if (UniqueFd memory = open_memory_image(vm))
      return machine::LoadedGuest{std::move(memory), {}, std::move(vcpus)};
  const std::string state = read_small_file(vm.fd(), "loaded", max_state);
  if (state.empty()) return std::nullopt;
  UniqueFd memory= open_memory_image(vm);
  if (!memory) return std::nullopt;
  return machine::LoadedGuest{std::move(memory), {state.begin(), state.end()}, {}};
}

/// Memory that was split is split there again.
static void keep_lowmem_limit(Config& config, u64 lowmem, u64 highmem) {
  if (highmem != 0 && !config.has("memory.lowmem_limit"))
    config.set("memory.lowmem_limit", std::to_string(lowmem));
}

Result<Config> with_loaded_memory(const Config& config,
                                  const std::optional<machine::LoadedGuest>& loaded) {
  Config merged = config;
  if (!loaded) return merged;
  if (!loaded->vcpus.empty()) {
    const auto head = machine::stopped_head(loaded->vcpus);
    if (!head) return tl::make_unexpected(head.error());
    if (!config.has("memory.size"))
      merged.set("memory.size", std::to_string(head->lowmem + head->highmem));
    keep_lowmem_limit(merged, head->lowmem, head->highmem);
    return merged;
  }
  const auto state = machine::parse_loaded_state(loaded->state);
  if (!state)
    return fail(EBADMSG, "VM '{}': what bhyveload left is damaged: {}",
                config.raw("name").value_or(""), state.error().message);
  if (!config.has("memory.size"))
    merged.set("memory.size", std::to_string(state->lowmem + state->highmem));
  keep_lowmem_limit(merged, state->lowmem, state->highmem);
  return merged;
}

Result<void> store_loaded_guest(const VmDirectory& vm, const Config& config) {
  const UniqueFd memory = create_file(vm, "memory.new");
  if (!memory)
    return fail(errno, "VM '{}': cannot write its memory.img: {}", vm.name(), std::strerror(errno));
  const auto state = machine::load_stopped_guest(config, memory.get());
  if (!state || !write_whole(vm, "loaded.new", *state)) {
    const int error = errno;
    for (const char* file : {"memory.new", "loaded.new"}) ::unlinkat(vm.fd(), file, 0);
    if (!state) return tl::make_unexpected(state.error());
    return fail(error, "VM '{}': cannot write its loaded: {}", vm.name(), std::strerror(error));
  }
  for (const char* file : {"loaded", "vcpus"}) ::unlinkat(vm.fd(), file, 0);
  if (rename_in(vm, "memory.new", "memory.img") && rename_in(vm, "loaded.new", "loaded")) return {};
  return fail(errno, "VM '{}': cannot replace its memory.img: {}", vm.name(), std::strerror(errno));
}

}  // namespace bhyve::api
