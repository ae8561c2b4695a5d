#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "host/char_backend.hpp"
#include "host/event_loop.hpp"

namespace bhyve::host {

/// What a serial device is connected to, as the user writes it: "stdio", the path of a terminal,
/// "tcp=ADDRESS:PORT", "unix=PATH", "pty" or "pty=LINK".
struct CharSpec final {
  enum class Kind { stdio, tty, tcp, unix_socket, pty };
  Kind kind = Kind::stdio;
  std::string argument;  ///< path, address or link; may be empty for pty only
};

/// Checks the form only; EINVAL with what was expected.
[[nodiscard]] Result<CharSpec> parse_char_spec(std::string_view text);

/// Opens it. `name` is the device's, for the line on standard error that tells a user where a chosen
/// terminal or port is. Failures name what could not be opened.
[[nodiscard]] Result<std::unique_ptr<CharBackend>> open_char_backend(EventLoop& loop,
                                                                     std::string_view name,
                                                                     const CharSpec& spec);

}  // namespace bhyve::host
