#include "host/fd_backend.hpp"

#include <signal.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace bhyve::host {

namespace {

/// A reader that went away must cost us an error, not our life.
void ignore_sigpipe() {
  struct sigaction old {};
  if (::sigaction(SIGPIPE, nullptr, &old) == 0 && old.sa_handler == SIG_DFL)
    ::signal(SIGPIPE, SIG_IGN);
}

bool again(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

}  // namespace

FdBackend::FdBackend(EventLoop& loop, int in, int out, int patience_ms)
    : loop_(loop), patience_ms_(patience_ms), in_(in, PrivateFd::Use::input), out_(out, PrivateFd::Use::output) {
  ignore_sigpipe();
  // Probe with a watched event: epoll refuses regular files, which are always ready.
  const auto probe = [this](int fd, u32 event, auto member) -> EventLoop::Watch {
    auto watch = loop_.add(fd, event, [this, member](u32) { (this->*member)(); });
    if (!watch) return 0;
    return *watch;
  };
  const std::scoped_lock lock(in_mutex_, out_mutex_);
  in_watch_ = probe(in_.get(), EPOLLIN, &FdBackend::input_ready);
  if (in_watch_ != 0) loop_.modify(in_watch_, 0);
  out_watch_ = probe(out_.get(), EPOLLOUT, &FdBackend::output_ready);
  if (out_watch_ != 0) loop_.modify(out_watch_, 0);
}

FdBackend::~FdBackend() {
  attach(nullptr);
  flush();
  loop_.remove(in_watch_);
  loop_.remove(out_watch_);
  loop_.sync();  // a posted read may still name this object
}

void FdBackend::attach(CharClient* client) {
  loop_.post([this, client] { client_ = client; });
  loop_.sync();
  if (client != nullptr) resume_input();
}

void FdBackend::resume_input() {
  {
    const std::lock_guard lock(in_mutex_);
    if (reading_ || ended_) return;
    reading_ = true;
    if (in_watch_ != 0) return loop_.modify(in_watch_, EPOLLIN);
  }
  loop_.post([this] { input_ready(); });
}

void FdBackend::end_input() {
  const std::lock_guard lock(in_mutex_);
  ended_ = true;
  reading_ = false;
  if (in_watch_ != 0) loop_.modify(in_watch_, 0);
}

void FdBackend::input_ready() {
  std::array<u8, 256> buffer;
  const usize room = client_ == nullptr ? 0 : std::min(client_->can_receive(), buffer.size());
  if (room == 0) {
    {
      const std::lock_guard lock(in_mutex_);
      reading_ = false;
      if (in_watch_ != 0) loop_.modify(in_watch_, 0);
    }
    // The client may have made room after it was asked and found us still reading.
    if (client_ != nullptr && client_->can_receive() != 0) resume_input();
    return;
  }
  const ssize_t n = in_.read_some(std::span(buffer).first(room));
  if (n > 0)
    client_->receive(std::span(buffer).first(static_cast<usize>(n)));
  else if (n == 0 || !again(errno))
    return end_input();
  if (in_watch_ == 0) loop_.post([this] { input_ready(); });
}

usize FdBackend::write(std::span<const u8> bytes) {
  const std::lock_guard lock(out_mutex_);
  if (broken_) return bytes.size();
  usize done = 0;
  if (waiting_.empty() && !bytes.empty()) {
    const ssize_t n = out_.write_some(bytes);
    if (n > 0) {
      done = static_cast<usize>(n);
    } else if (n < 0 && !again(errno)) {
      broken_ = true;
      return bytes.size();
    }
  }
  const usize room = output_limit - waiting_.size();
  const usize kept = std::min(room, bytes.size() - done);
  if (kept != 0) {
    const auto rest = bytes.subspan(done, kept);
    waiting_.insert(waiting_.end(), rest.begin(), rest.end());
    if (out_watch_ != 0)
      loop_.modify(out_watch_, EPOLLOUT);
    else
      loop_.post([this] { output_ready(); });
  }
  refused_ = refused_ || done + kept < bytes.size();
  return done + kept;
}

/// Writes what fits; true when nothing waits any more.
bool FdBackend::drain_locked() {
  usize done = 0;
  while (done < waiting_.size() && !broken_) {
    const ssize_t n = out_.write_some(std::span(waiting_).subspan(done));
    if (n > 0)
      done += static_cast<usize>(n);
    else if (n < 0 && errno == EINTR)
      continue;
    else if (n < 0 && !again(errno))
      broken_ = true;
    else
      break;
  }
  if (broken_) done = waiting_.size();
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(done));
  return waiting_.empty();
}

void FdBackend::output_ready() {
  bool tell = false;
  {
    const std::lock_guard lock(out_mutex_);
    if (drain_locked()) {
      if (out_watch_ != 0) loop_.modify(out_watch_, 0);
      tell = refused_;
      refused_ = false;
    }
  }
  if (tell && client_ != nullptr) client_->writable();
}

void FdBackend::flush() {
  for (;;) {
    {
      const std::lock_guard lock(out_mutex_);
      if (drain_locked()) break;
    }
    if (out_.wait_writable(patience_ms_)) continue;
    const std::lock_guard lock(out_mutex_);
    waiting_.clear();
  }
  // The client hears of the room from the loop's thread, as always.
  loop_.post([this] { output_ready(); });
  loop_.sync();
}

}  // namespace bhyve::host
