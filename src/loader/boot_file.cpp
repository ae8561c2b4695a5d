#include "loader/boot_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/fd.hpp"

namespace bhyve::loader {
namespace {

constexpr usize chunk = 1 * MiB;

/// Reads up to one byte more than `limit`, so that the caller sees "too long".
[[nodiscard]] Result<std::vector<u8>> read_all(int fd, u64 size_hint, u64 limit) {
  std::vector<u8> bytes;
  bytes.reserve(std::min(size_hint, limit) + 1);
  usize length = 0;
  while (length <= limit) {
    const usize want = std::min<u64>(std::max<u64>(chunk, bytes.capacity() - length),
                                     limit + 1 - length);
    bytes.resize(length + want);
    const ssize_t n = ::read(fd, bytes.data() + length, want);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(errno, "{}", std::strerror(errno));
    if (n == 0) break;
    length += static_cast<usize>(n);
  }
  bytes.resize(length);
  return bytes;
}

}  // namespace

Result<BootFile> read_boot_file(std::string what, const std::string& path, u64 limit) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat st {};
  if (!fd || ::fstat(fd.get(), &st) != 0) {
    return fail(errno, "{}: {}", what, std::strerror(errno));
  }
  if (S_ISDIR(st.st_mode)) return fail(EISDIR, "{}: is a directory, expected a file", what);
  const bool regular = S_ISREG(st.st_mode);
  const u64 size = regular ? static_cast<u64>(st.st_size) : 0;
  Result<std::vector<u8>> bytes = size > limit ? std::vector<u8>() : read_all(fd.get(), size, limit);
  if (!bytes) return fail(bytes.error().code, "{}: {}", what, bytes.error().message);
  if (size > limit || bytes->size() > limit) {
    return fail(EFBIG, "{}: longer than {} MiB", what, limit / MiB);
  }
  if (bytes->empty()) return fail(ENODATA, "{}: is empty", what);
  return BootFile{std::move(what), std::move(*bytes)};
}

}  // namespace bhyve::loader
