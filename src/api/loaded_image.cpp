#include "api/loaded_image.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "api/small_file.hpp"

namespace bhyve::api {
namespace {

constexpr usize max_state = 64 * KiB;

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

std::optional<machine::LoadedGuest> open_loaded_guest(const VmDirectory& vm) {
  const std::string state = read_small_file(vm.fd(), "loaded", max_state);
  if (state.empty()) return std::nullopt;
  UniqueFd memory(::openat(vm.fd(), "memory.img", O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!memory) return std::nullopt;
  return machine::LoadedGuest{std::move(memory), {state.begin(), state.end()}};
}

Result<Config> with_loaded_memory(const Config& config,
                                  const std::optional<machine::LoadedGuest>& loaded) {
  Config merged = config;
  if (!loaded) return merged;
  const auto state = machine::parse_loaded_state(loaded->state);
  if (!state)
    return fail(EBADMSG, "VM '{}': what bhyveload left is damaged: {}",
                config.raw("name").value_or(""), state.error().message);
  if (!config.has("memory.size"))
    merged.set("memory.size", std::to_string(state->lowmem + state->highmem));
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
  ::unlinkat(vm.fd(), "loaded", 0);
  if (rename_in(vm, "memory.new", "memory.img") && rename_in(vm, "loaded.new", "loaded")) return {};
  return fail(errno, "VM '{}': cannot replace its memory.img: {}", vm.name(), std::strerror(errno));
}

}  // namespace bhyve::api
