#include "host/pty_backend.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace bhyve::host {
namespace {

Result<void> make_link(const std::string& link, const std::string& target) {
  struct stat st {};
  if (::lstat(link.c_str(), &st) == 0 && S_ISLNK(st.st_mode)) ::unlink(link.c_str());
  if (::symlink(target.c_str(), link.c_str()) == 0) return {};
  return fail(errno, "cannot make the link {}: {}", link, std::strerror(errno));
}

}  // namespace

Result<std::unique_ptr<PtyBackend>> PtyBackend::open(EventLoop& loop, const std::string& link) {
  UniqueFd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  std::array<char, 128> name{};
  if (!master || ::grantpt(master.get()) != 0 || ::unlockpt(master.get()) != 0 ||
      ::ptsname_r(master.get(), name.data(), name.size()) != 0)
    return fail(errno, "cannot make a pseudo-terminal: {}", std::strerror(errno));
  UniqueFd slave(::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  termios settings{};
  if (!slave || ::tcgetattr(slave.get(), &settings) != 0)
    return fail(errno, "cannot open {}: {}", name.data(), std::strerror(errno));
  ::cfmakeraw(&settings);
  if (::tcsetattr(slave.get(), TCSANOW, &settings) != 0 ||
      ::fcntl(master.get(), F_SETFL, O_RDWR | O_NONBLOCK) != 0)
    return fail(errno, "cannot set up {}: {}", name.data(), std::strerror(errno));
  if (!link.empty())
    if (auto ok = make_link(link, name.data()); !ok) return tl::make_unexpected(ok.error());
  return std::unique_ptr<PtyBackend>(
      new PtyBackend(loop, std::move(master), std::move(slave), name.data(), link));
}

PtyBackend::~PtyBackend() {
  std::array<char, 128> target{};
  if (!link_.empty() && ::readlink(link_.c_str(), target.data(), target.size() - 1) > 0 &&
      path_ == target.data())
    ::unlink(link_.c_str());
}

}  // namespace bhyve::host
