#include "api/control_server.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <vector>

#include "base/confinement.hpp"
#include "base/log.hpp"
#include "base/thread.hpp"

namespace bhyve::api {
namespace {

constexpr usize max_clients = 32;

bool same_user(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == ::geteuid() || peer.uid == 0;
}

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

ControlServer::ControlServer(UniqueFd listener, Handler handler, bool confined)
    : listener_(std::move(listener)),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      handler_(std::move(handler)),
      confined_(confined),
      thread_([this] { serve(); }) {}

ControlServer::~ControlServer() {
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
}

void ControlServer::serve() {
  block_async_signals();
  name_this_thread("control");
  prefer_short_slices();  // who asks is answered soon, however busy the vCPUs keep the host
  if (confined_)
    if (auto ok = confine_this_thread(Confinement::caller); !ok) log_warn("{}", ok.error().message);
  std::vector<pollfd> fds;
  while (true) {
    fds.assign({{stop_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}});
    for (const Client& client : clients_) {
      // A client with an answer to read is not listened to: the buffer stays bounded.
      const short events = client.out.empty() ? POLLIN : POLLOUT;
      fds.push_back({client.fd.get(), events, 0});
    }
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    if (fds[0].revents) return;
    usize i = 2;
    for (Client& client : clients_) {
      const short got = fds[i++].revents;
      if (got & POLLOUT) pump(client);
      else if (got) read_from(client);
    }
    clients_.remove_if([](const Client& client) { return client.dead; });
    if (fds[1].revents) accept_client();
  }
}

void ControlServer::accept_client() {
  UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd || !same_user(fd.get()) || clients_.size() >= max_clients) return;
  clients_.push_back(Client{std::move(fd), {}, {}, false});
}

void ControlServer::read_from(Client& client) {
  char buffer[4096];
  const ssize_t n = ::recv(client.fd.get(), buffer, sizeof buffer, 0);
  if (n < 0 && would_block()) return;
  if (n <= 0) {
    client.dead = true;
    return;
  }
  client.in.append(buffer, static_cast<usize>(n));
  pump(client);
  if (client.in.size() > max_request) client.dead = true;
}

void ControlServer::pump(Client& client) {
  while (!client.dead) {
    if (!client.out.empty()) {
      const ssize_t n = ::send(client.fd.get(), client.out.data(), client.out.size(), MSG_NOSIGNAL);
      if (n < 0 && would_block()) return;
      if (n < 0) client.dead = true;
      else client.out.erase(0, static_cast<usize>(n));
      continue;
    }
    const auto end = client.in.find('\n');
    if (end == std::string::npos) return;
    const auto request = parse_line(std::string_view(client.in).substr(0, end));
    client.in.erase(0, end + 1);
    client.out = answer_line(request ? handler_(*request) : request);
  }
}

}  // namespace bhyve::api
