#include "host/event_loop.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/log.hpp"
#include "base/thread.hpp"

namespace bhyve::host {

EventLoop::EventLoop(std::string name)
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wakeup_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 0;  // no watch has this name
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wakeup_.get(), &event) != 0)
    log_error("event loop {}: {}", name, std::strerror(errno));
  // The loop reads thread_ (in_loop_thread) only from handlers, which are added or posted later.
  thread_ = std::thread([this, n = std::move(name)] { run(n); });
}

EventLoop::~EventLoop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake();
  thread_.join();
}

Result<EventLoop::Watch> EventLoop::add(int fd, u32 events, Handler handler) {
  const std::lock_guard lock(mutex_);
  const Watch watch = next_++;
  auto source = std::make_shared<Source>(Source{fd, 0, std::move(handler)});
  if (events != 0) {
    source->events = events;
    if (control(EPOLL_CTL_ADD, watch, *source) != 0)
      return fail(errno, "file descriptor {} cannot be watched: {}", fd, std::strerror(errno));
  }
  sources_.emplace(watch, std::move(source));
  return watch;
}

int EventLoop::control(int operation, Watch watch, const Source& source) {
  epoll_event event{};
  event.events = source.events;
  event.data.u64 = watch;
  return ::epoll_ctl(epoll_.get(), operation, source.fd, &event);
}

void EventLoop::modify(Watch watch, u32 events) {
  const std::lock_guard lock(mutex_);
  const auto it = sources_.find(watch);
  if (it == sources_.end() || it->second->events == events) return;
  Source& source = *it->second;
  // epoll reports hang-ups of every member, asked or not: what is not watched must not be one.
  const int operation = source.events == 0 ? EPOLL_CTL_ADD
                        : events == 0      ? EPOLL_CTL_DEL
                                           : EPOLL_CTL_MOD;
  source.events = events;
  if (control(operation, watch, source) != 0)
    log_warn("event loop: descriptor {}: {}", source.fd, std::strerror(errno));
}

void EventLoop::remove(Watch watch) {
  std::unique_lock lock(mutex_);
  const auto it = sources_.find(watch);
  if (it == sources_.end()) return;
  if (it->second->events != 0) static_cast<void>(control(EPOLL_CTL_DEL, watch, *it->second));
  sources_.erase(it);
  if (!in_loop_thread()) idle_.wait(lock, [&] { return running_ != watch; });
}

void EventLoop::post(std::function<void()> function) {
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(function));
    if (posted_.size() > 1) return;  // the first one has woken the loop
  }
  wake();
}

void EventLoop::sync() {
  std::mutex mutex;
  std::condition_variable ran;
  bool done = false;
  post([&] {
    const std::lock_guard lock(mutex);
    done = true;
    ran.notify_all();
  });
  std::unique_lock lock(mutex);
  ran.wait(lock, [&] { return done; });
}

void EventLoop::wake() {
  const u64 one = 1;
  // Only a full counter can fail, and then the loop is awake anyway.
  static_cast<void>(::write(wakeup_.get(), &one, sizeof one) == sizeof one);
}

void EventLoop::run(const std::string& name) {
  block_async_signals();
  name_this_thread(name);
  std::array<epoll_event, 32> events;
  for (;;) {
    const int n = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    if (n < 0 && errno != EINTR) return log_error("event loop: {}", std::strerror(errno));
    for (int i = 0; i < n; ++i) {
      const epoll_event& event = events[static_cast<usize>(i)];
      if (event.data.u64 != 0) dispatch(event.data.u64, event.events);
    }
    run_posted();
    const std::lock_guard lock(mutex_);
    if (stopping_ && posted_.empty()) return;
  }
}

void EventLoop::dispatch(Watch watch, u32 events) {
  std::shared_ptr<Source> source;
  {
    const std::lock_guard lock(mutex_);
    const auto it = sources_.find(watch);
    // Removed or quietened by an earlier handler of this round.
    if (it == sources_.end() || it->second->events == 0) return;
    source = it->second;
    running_ = watch;
  }
  source->handler(events);
  {
    const std::lock_guard lock(mutex_);
    running_ = 0;
  }
  idle_.notify_all();
}

void EventLoop::run_posted() {
  u64 count = 0;
  static_cast<void>(::read(wakeup_.get(), &count, sizeof count) == sizeof count);
  std::vector<std::function<void()>> functions;
  {
    const std::lock_guard lock(mutex_);
    functions.swap(posted_);
  }
  for (const auto& function : functions) function();
}

}  // namespace bhyve::host
