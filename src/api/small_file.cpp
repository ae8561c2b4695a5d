#include "api/small_file.hpp"

#include <fcntl.h>

#include <cerrno>

#include "base/fd.hpp"

namespace bhyve::api {

std::string read_small_file(int dir, const char* file, usize max) {
  const UniqueFd fd(::openat(dir, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  std::string out;
  char buffer[4096];
  while (fd && out.size() <= max) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n == 0 ? out : std::string();
    out.append(buffer, static_cast<usize>(n));
  }
  return {};
}

}  // namespace bhyve::api
