#include "host/private_fd.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

namespace bhyve::host {

PrivateFd::PrivateFd(int fd, Use use) {
  struct stat st {};
  // Opening a pseudo-terminal's master again would make another terminal.
  unsigned pty = 0;
  const bool master = ::ioctl(fd, TIOCGPTN, &pty) == 0;
  if (master) non_blocking_ = (::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
  if (!master && ::fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))) {
    const int mode = use == Use::input ? O_RDONLY : O_WRONLY;
    // Opening through /proc gives a description of our own with flags of its own.
    fd_.reset(::open(fmt::format("/proc/self/fd/{}", fd).c_str(),
                     mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    non_blocking_ = static_cast<bool>(fd_);
  }
  // A number of its own at least: epoll knows descriptors by number, and input may equal output.
  if (!fd_) fd_.reset(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

bool PrivateFd::ready(short events) const {
  pollfd p{get(), events, 0};
  return ::poll(&p, 1, 0) > 0;
}

ssize_t PrivateFd::write_some(std::span<const u8> bytes) const {
  if (non_blocking_) return ::write(get(), bytes.data(), bytes.size());
  if (!ready(POLLOUT)) {
    errno = EAGAIN;
    return -1;
  }
  // Ready means room for at least PIPE_BUF bytes in a pipe or socket.
  return ::write(get(), bytes.data(), std::min<usize>(bytes.size(), PIPE_BUF));
}

ssize_t PrivateFd::read_some(std::span<u8> bytes) const {
  if (!non_blocking_ && !ready(POLLIN)) {
    errno = EAGAIN;
    return -1;
  }
  return ::read(get(), bytes.data(), bytes.size());
}

bool PrivateFd::wait_writable(int patience_ms) const {
  pollfd p{get(), POLLOUT, 0};
  return ::poll(&p, 1, patience_ms) != 0;  // an interrupted wait is no reason to give up
}

}  // namespace bhyve::host
