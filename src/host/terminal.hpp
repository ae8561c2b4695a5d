#pragma once
#include "base/types.hpp"

namespace bhyve::host {

/// Puts the terminal behind a descriptor into raw mode for as long as the object lives. The settings
/// are also put back when the process exits or dies of a signal whose action was the default one.
/// At most one object at a time does so; a descriptor that is no terminal, and a terminal whose
/// foreground we are not, are left alone.
class RawTerminal final {
 public:
  explicit RawTerminal(int fd);
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

  /// Puts the settings back now; async-signal-safe, for signal handlers that end the process.
  static void restore_now();

 private:
  bool active_ = false;
};

}  // namespace bhyve::host
