#include "api/vm_directory.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "api/run_dir.hpp"
#include "api/small_file.hpp"
#include "bhyve/vm.hpp"

namespace bhyve::api {
namespace {

constexpr usize max_file = 1 * MiB;
/// Every file that bhyve makes in a VM directory; the lock goes last, so that nobody can take a
/// half-removed directory for a whole one.
constexpr std::array known_files{"control", "config.new", "config", "state.new",
                                 "state",   "loaded.new", "loaded",     "memory.new",
                                 "memory.img", "vcpus.new",  "vcpus",      "lock"};

std::string read_file(int dir, const char* file) { return read_small_file(dir, file, max_file); }

/// Locks of the open file description: like flock() they end with the descriptor, and unlike it they
/// can be asked about without being taken, so that a look never disturbs a bhyve that starts.
struct flock whole_file(short type) {
  struct flock request{};
  request.l_type = type;
  request.l_whence = SEEK_SET;
  return request;
}

/// Opens and locks NAME/lock. EAGAIN: the directory was removed meanwhile, look again.
Result<UniqueFd> take_lock(int dir, const std::string& name) {
  UniqueFd lock(::openat(dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!lock) {
    if (errno == ENOENT) return fail(EAGAIN, "{}: removed meanwhile", name);
    return fail(errno, "VM '{}': cannot open its lock: {}", name, std::strerror(errno));
  }
  struct flock request = whole_file(F_WRLCK);
  if (::fcntl(lock.get(), F_OFD_SETLK, &request) != 0) {
    if (errno == EAGAIN || errno == EACCES) return fail(EBUSY, "VM '{}' is in use by another bhyve", name);
    return fail(errno, "VM '{}': cannot lock it: {}", name, std::strerror(errno));
  }
  struct stat held{}, named{};
  if (::fstat(lock.get(), &held) != 0 || ::fstatat(dir, "lock", &named, AT_SYMLINK_NOFOLLOW) != 0 ||
      held.st_ino != named.st_ino)
    return fail(EAGAIN, "{}: removed meanwhile", name);
  return lock;
}

Config config_from_json(const std::string& text) {
  Config config;
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("variables")) return config;
  for (const auto& [key, value] : json["variables"].items())
    if (value.is_string()) config.set(key, value.get<std::string>());
  return config;
}

/// The name of a file in `dir` that bhyve does not make, or nothing.
std::string unknown_file(int dir) {
  const int copy = ::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  std::unique_ptr<DIR, int (*)(DIR*)> entries(copy < 0 ? nullptr : ::fdopendir(copy), ::closedir);
  while (const dirent* entry = entries ? ::readdir(entries.get()) : nullptr) {
    const std::string_view file = entry->d_name;
    if (file == "." || file == "..") continue;
    if (std::find(known_files.begin(), known_files.end(), file) == known_files.end())
      return std::string(file);
  }
  return {};
}

}  // namespace

VmDirectory::VmDirectory(std::string name, UniqueFd parent, UniqueFd dir, UniqueFd lock,
                         bool created)
    : name_(std::move(name)),
      parent_(std::move(parent)),
      dir_(std::move(dir)),
      lock_(std::move(lock)),
      created_(created) {}

Result<VmDirectory> VmDirectory::acquire(const std::string& name, Mode mode) {
  if (auto ok = check_vm_name(name); !ok) return tl::make_unexpected(ok.error());
  auto parent = open_run_dir(mode != Mode::open);
  if (!parent) {
    if (parent.error().code == ENOENT) return fail(ENOENT, "VM '{}' does not exist", name);
    return tl::make_unexpected(parent.error());
  }
  for (unsigned attempt = 0; attempt < 100; ++attempt) {
    bool created = false;
    if (mode != Mode::open) {
      created = ::mkdirat(parent->get(), name.c_str(), 0700) == 0;
      if (!created && errno != EEXIST)
        return fail(errno, "VM '{}': cannot make its directory: {}", name, std::strerror(errno));
      if (!created && mode == Mode::create) return fail(EEXIST, "VM '{}' already exists", name);
    }
    UniqueFd dir(::openat(parent->get(), name.c_str(),
                          O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!dir) {
      if (errno != ENOENT)
        return fail(errno, "VM '{}': cannot open its directory: {}", name, std::strerror(errno));
      if (mode == Mode::open) return fail(ENOENT, "VM '{}' does not exist", name);
      continue;  // removed between the two calls
    }
    auto lock = take_lock(dir.get(), name);
    if (!lock && lock.error().code == EAGAIN) continue;
    if (!lock) return tl::make_unexpected(lock.error());
    VmDirectory vm(name, std::move(*parent), std::move(dir), std::move(*lock), created);
    for (const char* stale : {"control", "config.new", "state.new", "loaded.new", "memory.new", "vcpus.new"})
      ::unlinkat(vm.dir_.get(), stale, 0);
    return vm;
  }
  return fail(EBUSY, "VM '{}' is being removed and made again all the time", name);
}

Result<VmDirectory> VmDirectory::acquire_patiently(const std::string& name, Mode mode) {
  constexpr unsigned attempts = 150;
  constexpr auto pause = std::chrono::milliseconds(20);
  for (unsigned attempt = 0;; ++attempt) {
    auto vm = acquire(name, mode);
    if (vm || vm.error().code != EBUSY || attempt == attempts) return vm;
    if (const auto peek = peek_vm(name); !peek || peek->state == "running") return vm;
    std::this_thread::sleep_for(pause);
  }
}

Result<void> VmDirectory::write_file(const char* file, std::string_view text) {
  const std::string temporary = std::string(file) + ".new";
  UniqueFd fd(::openat(dir_.get(), temporary.c_str(),
                       O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  bool ok = static_cast<bool>(fd);
  while (ok && !text.empty()) {
    const ssize_t n = ::write(fd.get(), text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    ok = n > 0;
    if (ok) text.remove_prefix(static_cast<usize>(n));
  }
  if (ok) ok = ::renameat(dir_.get(), temporary.c_str(), dir_.get(), file) == 0;
  if (ok) return {};
  return fail(errno, "VM '{}': cannot write its {}: {}", name_, file, std::strerror(errno));
}

Result<void> VmDirectory::write_config(const Config& config) {
  nlohmann::json json{{"format", 1}, {"variables", nlohmann::json::object()}};
  for (const auto& [name, value] : config.variables()) json["variables"][name] = value;
  // Values are bytes the user gave; what is not UTF-8 cannot be JSON and is replaced.
  return write_file(
      "config", json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n');
}

Result<void> VmDirectory::write_state(std::string_view state) { return write_file("state", state); }

Result<UniqueFd> VmDirectory::listen() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // The name of a VM may be longer than a socket address.
  *fmt::format_to_n(address.sun_path, sizeof address.sun_path - 1, "/proc/self/fd/{}/control",
                    dir_.get())
       .out = '\0';
  if (!fd || ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd.get(), 8) != 0)
    return fail(errno, "VM '{}': cannot make its control socket: {}", name_, std::strerror(errno));
  return fd;
}

void VmDirectory::remove_socket() { ::unlinkat(dir_.get(), "control", 0); }

Result<void> VmDirectory::destroy() {
  if (const std::string other = unknown_file(dir_.get()); !other.empty())
    return fail(ENOTEMPTY, "VM '{}': its directory holds '{}', which is not bhyve's", name_, other);
  for (const char* file : known_files) ::unlinkat(dir_.get(), file, 0);
  if (::unlinkat(parent_.get(), name_.c_str(), AT_REMOVEDIR) != 0)
    return fail(errno, "VM '{}': cannot remove its directory: {}", name_, std::strerror(errno));
  return {};
}

Result<Peek> peek_vm(const std::string& name) {
  Peek peek;
  if (auto ok = check_vm_name(name); !ok) return tl::make_unexpected(ok.error());
  auto parent = open_run_dir(false);
  if (!parent && parent.error().code == ENOENT) return peek;
  if (!parent) return tl::make_unexpected(parent.error());
  const UniqueFd dir(::openat(parent->get(), name.c_str(),
                              O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!dir) return peek;
  peek.exists = true;
  const UniqueFd lock(::openat(dir.get(), "lock", O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  struct flock request = whole_file(F_WRLCK);
  peek.locked = lock && ::fcntl(lock.get(), F_OFD_GETLK, &request) == 0 && request.l_type != F_UNLCK;
  peek.state = read_file(dir.get(), "state");
  peek.config = config_from_json(read_file(dir.get(), "config"));
  return peek;
}

}  // namespace bhyve::api
