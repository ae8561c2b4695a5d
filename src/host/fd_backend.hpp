#pragma once
#include <atomic>
#include <mutex>
#include <vector>

#include "host/char_backend.hpp"
#include "host/event_loop.hpp"
#include "host/private_fd.hpp"

namespace bhyve::host {

/// A character back end over one descriptor for input and one for output (they may be the same):
/// terminals, pipes, files, /dev/null. Bytes are read only when the client can take them, so that
/// piped input waits in the pipe. Output that finds no room is kept, up to output_limit bytes. The
/// end of input just ends input; when the other side of the output is gone, output is dropped.
/// Thread safety: as CharBackend says.
class FdBackend final : public CharBackend {
 public:
  static constexpr usize output_limit = 64 * KiB;

  /// The descriptors and the loop must outlive this object. flush() waits `patience_ms` at a time for
  /// the other side to take something and drops the rest then; -1: for ever.
  FdBackend(EventLoop& loop, int in, int out, int patience_ms = -1);
  ~FdBackend() override;  ///< detaches and flushes

  void attach(CharClient* client) override;
  usize write(std::span<const u8> bytes) override;
  void resume_input() override;
  void flush() override;

 private:
  void input_ready();
  void output_ready();
  void end_input();
  bool drain_locked();

  EventLoop& loop_;
  const int patience_ms_;
  PrivateFd in_, out_;
  EventLoop::Watch in_watch_ = 0, out_watch_ = 0;  ///< 0: not a thing epoll can watch

  std::mutex in_mutex_;          ///< guards the input fields
  CharClient* client_ = nullptr; ///< changed on the loop's thread only, read there only
  bool reading_ = false;
  bool ended_ = false;

  std::mutex out_mutex_;         ///< guards the output fields
  std::vector<u8> waiting_;      ///< taken, not yet written
  bool refused_ = false;         ///< the client waits for writable()
  bool broken_ = false;          ///< the other side is gone
};

}  // namespace bhyve::host
