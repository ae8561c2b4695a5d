#pragma once
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/types.hpp"

namespace bhyve::host {

/// One thread that waits for file descriptors (epoll) and runs functions others post to it.
/// Handlers run on that thread, one at a time, with no lock of the loop held; they must not block.
/// Thread safety: every member, from any thread, handlers included.
class EventLoop final {
 public:
  /// `events` are EPOLLIN, EPOLLOUT, EPOLLHUP ... as epoll reports them (level triggered).
  using Handler = std::function<void(u32 events)>;
  using Watch = u64;  ///< names a registration; never reused. 0 is none.

  /// Starts the thread. Throws nothing; when the kernel refuses, every add() fails.
  explicit EventLoop(std::string name);
  /// Runs what was posted, then stops and joins. Not from a handler.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Watches `fd` (not owned, to stay open until remove). events == 0: registered but not watched,
  /// not even for hang-ups. Fails with the kernel's errno; EPERM: a regular file, always ready.
  [[nodiscard]] Result<Watch> add(int fd, u32 events, Handler handler);
  /// Changes the events; a removed watch is ignored.
  void modify(Watch watch, u32 events);
  /// Ends a watch. Its handler does not run any more on return, unless called from the loop itself.
  void remove(Watch watch);
  /// Runs `function` on the loop's thread soon, in order of posting.
  void post(std::function<void()> function);
  /// Returns when all that was posted before has run. Not from a handler.
  void sync();
  [[nodiscard]] bool in_loop_thread() const { return std::this_thread::get_id() == thread_.get_id(); }

 private:
  struct Source {
    int fd;
    u32 events;
    Handler handler;
  };

  void run(const std::string& name);
  void dispatch(Watch watch, u32 events);
  void run_posted();
  void wake();
  int control(int operation, Watch watch, const Source& source);

  UniqueFd epoll_;
  UniqueFd wakeup_;
  std::mutex mutex_;                ///< guards all below but thread_
  std::condition_variable idle_;    ///< running_ changed
  std::unordered_map<Watch, std::shared_ptr<Source>> sources_;
  std::vector<std::function<void()>> posted_;
  Watch next_ = 1;
  Watch running_ = 0;               ///< whose handler runs now
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace bhyve::host
