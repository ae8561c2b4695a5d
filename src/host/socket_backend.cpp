#include "host/socket_backend.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace bhyve::host {
namespace {

bool again(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

/// Whether the other side has closed at least its half.
bool closed_by_peer(int fd) {
  pollfd p{fd, POLLRDHUP, 0};
  return ::poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

/// A socket file that a process left which died: nobody answers there.
void remove_stale(const SocketAddress& address, const std::string& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0 || !S_ISSOCK(st.st_mode)) return;
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(probe.get(), address.get(), address.length) != 0 && errno == ECONNREFUSED)
    ::unlink(path.c_str());
}

Result<UniqueFd> listen_at(const SocketAddress& address, const std::string& name) {
  UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  bool ok = static_cast<bool>(fd);
  if (address.family() == AF_UNIX) {
    // The mode of the socket is the mode of the file that bind makes.
    ok = ok && ::fchmod(fd.get(), S_IRUSR | S_IWUSR) == 0;
  } else {
    ok = ok && ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0;
  }
  if (!ok || ::bind(fd.get(), address.get(), address.length) != 0 || ::listen(fd.get(), 4) != 0)
    return fail(errno, "cannot listen at {}: {}", name, std::strerror(errno));
  return fd;
}

}  // namespace

Result<std::unique_ptr<SocketBackend>> SocketBackend::listen_tcp(EventLoop& loop,
                                                                 std::string_view address) {
  const auto wanted = parse_tcp_address(address);
  if (!wanted) return tl::make_unexpected(wanted.error());
  auto fd = listen_at(*wanted, std::string(address));
  if (!fd) return tl::make_unexpected(fd.error());
  SocketAddress bound;
  bound.length = sizeof bound.storage;
  if (::getsockname(fd->get(), bound.get(), &bound.length) != 0)
    return fail(errno, "cannot listen at {}: {}", address, std::strerror(errno));
  std::unique_ptr<SocketBackend> made(
      new SocketBackend(loop, std::move(*fd), tcp_address_text(bound), {}));
  if (auto ok = made->start(); !ok) return tl::make_unexpected(ok.error());
  return made;
}

Result<std::unique_ptr<SocketBackend>> SocketBackend::listen_unix(EventLoop& loop,
                                                                  const std::string& path) {
  const auto address = unix_address(path);
  if (!address) return tl::make_unexpected(address.error());
  remove_stale(*address, path);
  auto fd = listen_at(*address, path);
  if (!fd) return tl::make_unexpected(fd.error());
  std::unique_ptr<SocketBackend> made(new SocketBackend(loop, std::move(*fd), path, path));
  if (auto ok = made->start(); !ok) return tl::make_unexpected(ok.error());
  return made;
}

SocketBackend::SocketBackend(EventLoop& loop, UniqueFd listener, std::string address,
                             std::string file)
    : loop_(loop),
      listener_(std::move(listener)),
      address_(std::move(address)),
      file_(std::move(file)) {}

Result<void> SocketBackend::start() {
  auto watch = loop_.add(listener_.get(), EPOLLIN, [this](u32) { accept_client(); });
  if (!watch) return tl::make_unexpected(watch.error());
  listener_watch_ = *watch;
  return {};
}

SocketBackend::~SocketBackend() {
  attach(nullptr);
  loop_.remove(listener_watch_);
  flush();
  loop_.post([this] { hang_up(); });
  loop_.sync();  // also what write() posted
  if (!file_.empty()) ::unlink(file_.c_str());
}

void SocketBackend::attach(CharClient* client) {
  loop_.post([this, client] { client_ = client; });
  loop_.sync();
  if (client != nullptr) resume_input();
}

void SocketBackend::accept_client() {
  UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd) return;
  {
    const std::lock_guard lock(mutex_);
    if (peer_ && !peer_lost_ && !closed_by_peer(peer_.get())) return;  // the door closes: fd dies
  }
  hang_up();
  bool tell = false;
  {
    const std::lock_guard lock(mutex_);
    auto watch = loop_.add(fd.get(), 0, [this](u32 events) { peer_ready(events); });
    if (!watch) return;
    peer_ = std::move(fd);
    peer_watch_ = *watch;
    if (!drain_locked()) lose_peer_locked();
    watch_peer_locked();
    tell = std::exchange(refused_, false);
  }
  if (tell && client_ != nullptr) client_->writable();
}

/// On the loop's thread: closes what is there of a peer.
void SocketBackend::hang_up() {
  EventLoop::Watch watch = 0;
  {
    const std::lock_guard lock(mutex_);
    watch = std::exchange(peer_watch_, 0);
  }
  if (watch != 0) loop_.remove(watch);
  const std::lock_guard lock(mutex_);
  peer_.reset();
  peer_lost_ = ended_ = false;
}

/// Any thread: the loop closes the descriptor, nobody uses it until then.
void SocketBackend::lose_peer_locked() {
  if (!peer_ || std::exchange(peer_lost_, true)) return;
  loop_.post([this] {
    bool tell = false;
    {
      const std::lock_guard lock(mutex_);
      if (!peer_lost_) return;  // the next one is here already
    }
    hang_up();
    {
      const std::lock_guard lock(mutex_);
      tell = std::exchange(refused_, false);
    }
    if (tell && client_ != nullptr) client_->writable();
  });
}

void SocketBackend::watch_peer_locked() {
  if (peer_watch_ == 0) return;
  u32 events = 0;
  if (reading_ && !ended_ && !peer_lost_) events |= EPOLLIN;
  if (!waiting_.empty() && !peer_lost_) events |= EPOLLOUT;
  loop_.modify(peer_watch_, events);
}

void SocketBackend::peer_ready(u32 events) {
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read_peer();
  bool tell = false;
  {
    const std::lock_guard lock(mutex_);
    if (!drain_locked()) lose_peer_locked();
    if (waiting_.empty()) tell = std::exchange(refused_, false);
    watch_peer_locked();
  }
  if (tell && client_ != nullptr) client_->writable();
}

void SocketBackend::read_peer() {
  std::array<u8, 256> buffer;
  const usize room = client_ == nullptr ? 0 : std::min(client_->can_receive(), buffer.size());
  ssize_t n = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!peer_ || peer_lost_ || ended_) return;
    if (room == 0) {
      reading_ = false;
    } else {
      n = ::recv(peer_.get(), buffer.data(), room, 0);
      if (n == 0) ended_ = true;
      else if (n < 0 && !again(errno)) lose_peer_locked();
    }
    watch_peer_locked();
  }
  if (n > 0) client_->receive(std::span(buffer).first(static_cast<usize>(n)));
  // The client may have made room after it was asked and found us still reading.
  if (room == 0 && client_ != nullptr && client_->can_receive() != 0) resume_input();
}

void SocketBackend::resume_input() {
  const std::lock_guard lock(mutex_);
  reading_ = true;
  watch_peer_locked();
}

bool SocketBackend::drain_locked() {
  if (!peer_ || peer_lost_) return true;
  while (!waiting_.empty()) {
    const ssize_t n = ::send(peer_.get(), waiting_.data(), waiting_.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return again(errno);
    waiting_.erase(0, static_cast<usize>(n));
  }
  return true;
}

usize SocketBackend::write(std::span<const u8> bytes) {
  const std::lock_guard lock(mutex_);
  const bool served = peer_ && !peer_lost_;
  const usize kept = served ? std::min(bytes.size(), output_limit - waiting_.size()) : bytes.size();
  waiting_.append(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(kept));
  if (!served) {
    if (waiting_.size() > output_limit) waiting_.erase(0, waiting_.size() - output_limit);
    return kept;
  }
  const bool waited = waiting_.size() > kept;
  if (!waited && !drain_locked()) lose_peer_locked();
  if (!waiting_.empty()) watch_peer_locked();
  refused_ = refused_ || kept < bytes.size();
  return kept;
}

void SocketBackend::flush() {
  for (;;) {
    UniqueFd peer;  // our own number: the loop may close the other while we wait
    {
      const std::lock_guard lock(mutex_);
      if (!drain_locked()) lose_peer_locked();
      if (waiting_.empty() || !peer_ || peer_lost_) break;
      peer.reset(::fcntl(peer_.get(), F_DUPFD_CLOEXEC, 0));
    }
    pollfd p{peer.get(), POLLOUT, 0};
    if (::poll(&p, 1, flush_patience_ms) <= 0) {
      const std::lock_guard lock(mutex_);
      lose_peer_locked();
    }
  }
  loop_.post([this] { peer_ready(0); });
  loop_.sync();
}

}  // namespace bhyve::host
