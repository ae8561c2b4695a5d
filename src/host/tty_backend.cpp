#include "host/tty_backend.hpp"

#include <fcntl.h>
#include <termios.h>

#include <cstring>

namespace bhyve::host {

Result<std::unique_ptr<TtyBackend>> TtyBackend::open(EventLoop& loop, const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return fail(errno, "cannot open terminal {}: {}", path, std::strerror(errno));
  termios settings{};
  if (::tcgetattr(fd.get(), &settings) != 0)
    return fail(ENOTTY, "{} is not a terminal; expected a tty or pty path", path);
  ::cfmakeraw(&settings);
  settings.c_cflag |= CLOCAL;
  if (::tcsetattr(fd.get(), TCSANOW, &settings) != 0)
    return fail(errno, "cannot set up terminal {}: {}", path, std::strerror(errno));
  return std::unique_ptr<TtyBackend>(new TtyBackend(loop, std::move(fd)));
}

}  // namespace bhyve::host
