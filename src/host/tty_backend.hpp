#pragma once
#include <memory>
#include <string>

#include "host/fd_backend.hpp"

namespace bhyve::host {

/// `-l com1,/dev/pts/3`: a terminal by its path, put into raw mode.
/// Thread safety: as CharBackend says.
class TtyBackend final : public CharBackend {
 public:
  /// Fails with a sentence that names the path when it cannot be opened or is no terminal.
  [[nodiscard]] static Result<std::unique_ptr<TtyBackend>> open(EventLoop& loop,
                                                                const std::string& path);

  void attach(CharClient* client) override { fds_.attach(client); }
  usize write(std::span<const u8> bytes) override { return fds_.write(bytes); }
  void resume_input() override { fds_.resume_input(); }
  void flush() override { fds_.flush(); }

 private:
  TtyBackend(EventLoop& loop, UniqueFd fd) : fd_(std::move(fd)), fds_(loop, fd_.get(), fd_.get()) {}

  UniqueFd fd_;
  FdBackend fds_;
};

}  // namespace bhyve::host
