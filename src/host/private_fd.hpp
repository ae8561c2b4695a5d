#pragma once
#include <sys/types.h>

#include <span>

#include "base/fd.hpp"
#include "base/types.hpp"

namespace bhyve::host {

/// A descriptor opened again for this process alone, so that making it non-blocking does not change
/// it for the shell that handed it to us. Falls back to the descriptor itself where it cannot be
/// opened again (sockets, terminals of another user) or must not be (regular files: the position).
class PrivateFd final {
 public:
  enum class Use { input, output };

  /// `fd` is not owned and may be closed afterwards.
  PrivateFd(int fd, Use use);

  [[nodiscard]] int get() const { return fd_.get(); }
  /// Bytes written, or -1 with errno EAGAIN when there is no room now, or another errno when the
  /// other side is gone. Does not block.
  [[nodiscard]] ssize_t write_some(std::span<const u8> bytes) const;
  /// Bytes read, 0 at the end, or -1 with errno (EAGAIN: nothing there). Does not block.
  [[nodiscard]] ssize_t read_some(std::span<u8> bytes) const;
  /// Blocks until write_some() may go on; false after `patience_ms` (-1: never) without.
  bool wait_writable(int patience_ms) const;

 private:
  [[nodiscard]] bool ready(short events) const;

  UniqueFd fd_;
  bool non_blocking_ = false;  ///< fd_ is our own description, which does not block
};

}  // namespace bhyve::host
