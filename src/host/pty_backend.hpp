#pragma once
#include <memory>
#include <string>

#include "host/fd_backend.hpp"

namespace bhyve::host {

/// `-l com1,pty` and `-l com1,pty=LINK`: a new pseudo-terminal, raw, whose other side a terminal
/// program may open and leave at any time. LINK is made a symbolic link to it for as long as this
/// lives. Nobody may be there, so the guest never waits for a reader: output that finds the terminal
/// and the buffer behind it (output_limit) full is lost.
/// Thread safety: as CharBackend says.
class PtyBackend final : public CharBackend {
 public:
  /// `link` empty: none. Fails with a sentence that names it when it cannot be made; a symbolic link
  /// that is there is replaced, anything else is not.
  [[nodiscard]] static Result<std::unique_ptr<PtyBackend>> open(EventLoop& loop,
                                                                const std::string& link);
  ~PtyBackend() override;

  /// Path of the side that others open, e.g. "/dev/pts/3".
  [[nodiscard]] const std::string& path() const { return path_; }

  void attach(CharClient* client) override { fds_.attach(client); }
  usize write(std::span<const u8> bytes) override {
    (void)fds_.write(bytes);
    return bytes.size();
  }
  void resume_input() override { fds_.resume_input(); }
  void flush() override { fds_.flush(); }

 private:
  static constexpr int flush_patience_ms = 200;

  PtyBackend(EventLoop& loop, UniqueFd master, UniqueFd slave, std::string path, std::string link)
      : master_(std::move(master)),
        slave_(std::move(slave)),
        path_(std::move(path)),
        link_(std::move(link)),
        fds_(loop, master_.get(), master_.get(), flush_patience_ms) {}

  UniqueFd master_;
  UniqueFd slave_;  ///< kept open: the master sees no hang-up when a user leaves
  const std::string path_, link_;
  FdBackend fds_;
};

}  // namespace bhyve::host
