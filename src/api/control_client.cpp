#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <csignal>
#include <cstring>

#include "api/control_impl.hpp"
#include "api/run_dir.hpp"
#include "api/vm_directory.hpp"
#include "base/thread.hpp"

namespace bhyve {
namespace {

constexpr int answer_timeout_ms = 10'000;
constexpr int exit_timeout_ms = 5'000;

/// Waits until `fd` has `events`; false on time-out.
bool wait_for(int fd, short events, int timeout_ms) {
  pollfd p{fd, events, 0};
  int n;
  do n = ::poll(&p, 1, timeout_ms);
  while (n < 0 && errno == EINTR);
  return n > 0;
}

}  // namespace

Result<api::Json> Control::Impl::call(const api::Json& request) {
  if (local) return local(request);
  const ShortSlices soon;  // the answer is read when it is there, however busy the vCPUs keep the host
  const std::string line = request.dump() + '\n';
  if (::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(line.size()))
    return fail(ESRCH, "VM '{}' ended meanwhile", name);
  while (buffer.size() <= api::max_answer) {
    if (const auto end = buffer.find('\n'); end != std::string::npos) {
      auto answer = api::parse_answer(std::string_view(buffer).substr(0, end));
      buffer.erase(0, end + 1);
      return answer;
    }
    if (!wait_for(socket.get(), POLLIN, answer_timeout_ms))
      return fail(ETIMEDOUT, "VM '{}' does not answer", name);
    char chunk[4096];
    const ssize_t n = ::recv(socket.get(), chunk, sizeof chunk, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail(ESRCH, "VM '{}' ended meanwhile", name);
    buffer.append(chunk, static_cast<usize>(n));
  }
  return fail(EMSGSIZE, "VM '{}': its answer is too long", name);
}

Control::Control(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Control::Control(Control&&) noexcept = default;
Control& Control::operator=(Control&&) noexcept = default;
Control::~Control() = default;

Result<Control> Control::connect(const std::string& name) {
  const auto peek = api::peek_vm(name);
  if (!peek) return tl::make_unexpected(peek.error());
  if (!peek->exists) return fail(ENOENT, "VM '{}' does not exist", name);
  auto parent = api::open_run_dir(false);
  if (!parent) return tl::make_unexpected(parent.error());
  const UniqueFd dir(::openat(parent->get(), name.c_str(),
                              O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  auto impl = std::make_unique<Impl>();
  impl->name = name;
  impl->socket = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  *fmt::format_to_n(address.sun_path, sizeof address.sun_path - 1, "/proc/self/fd/{}/control",
                    dir.get())
       .out = '\0';
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::connect(impl->socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return fail(ESRCH, "VM '{}' is not running", name);
  if (::getsockopt(impl->socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
      peer.uid != ::geteuid())
    return fail(EPERM, "VM '{}': its control socket is another user's", name);
  if (peer.pid != ::getpid())
    impl->process = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0)));
  return Control(std::move(impl));
}

Result<void> Control::destroy() {
  if (impl_->local) return fail(EBUSY, "VM '{}' is this process's own", impl_->name);
  // A bhyve that does not answer or does not end in time is killed: its files tell the rest.
  const auto asked = impl_->order({{"command", "destroy"}});
  if (!impl_->process) {
    if (!asked) return asked;
    if (!wait_for(impl_->socket.get(), POLLIN | POLLRDHUP, exit_timeout_ms))
      return fail(ETIMEDOUT, "VM '{}' does not end", impl_->name);
    return {};
  }
  if (wait_for(impl_->process.get(), POLLIN, exit_timeout_ms)) return {};
  ::syscall(SYS_pidfd_send_signal, impl_->process.get(), SIGKILL, nullptr, 0);
  if (wait_for(impl_->process.get(), POLLIN, exit_timeout_ms)) return {};
  return fail(ETIMEDOUT, "VM '{}' does not end", impl_->name);
}

}  // namespace bhyve
