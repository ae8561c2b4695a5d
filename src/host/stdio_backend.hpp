#pragma once
#include <memory>

#include "host/fd_backend.hpp"
#include "host/terminal.hpp"

namespace bhyve::host {

/// `-l com1,stdio`: standard input and output. A terminal is in raw mode while this lives.
/// Thread safety: as CharBackend says.
class StdioBackend final : public CharBackend {
 public:
  /// Fails with EBUSY while another device has standard input and output.
  [[nodiscard]] static Result<std::unique_ptr<StdioBackend>> open(EventLoop& loop);
  ~StdioBackend() override;

  void attach(CharClient* client) override { fds_.attach(client); }
  usize write(std::span<const u8> bytes) override { return fds_.write(bytes); }
  void resume_input() override { fds_.resume_input(); }
  void flush() override { fds_.flush(); }

 private:
  explicit StdioBackend(EventLoop& loop);

  RawTerminal raw_;
  FdBackend fds_;
};

}  // namespace bhyve::host
