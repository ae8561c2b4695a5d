#include "host/char_open.hpp"

#include "base/log.hpp"
#include "host/pty_backend.hpp"
#include "host/socket_backend.hpp"
#include "host/stdio_backend.hpp"
#include "host/tty_backend.hpp"

namespace bhyve::host {
namespace {

using Made = Result<std::unique_ptr<CharBackend>>;

template <class Backend>
Made up(Result<std::unique_ptr<Backend>> backend) {
  if (!backend) return tl::make_unexpected(backend.error());
  return std::unique_ptr<CharBackend>(std::move(*backend));
}

/// What a user has to know and could not choose.
void tell(std::string_view name, std::string_view what, const std::string& where) {
  log_detail::write("info", fmt::format("{}: {} {}", name, what, where));
}

Made open_pty(EventLoop& loop, std::string_view name, const std::string& link) {
  auto made = PtyBackend::open(loop, link);
  if (made) tell(name, "terminal", (*made)->path());
  return up(std::move(made));
}

Made open_tcp(EventLoop& loop, std::string_view name, const std::string& address) {
  auto made = SocketBackend::listen_tcp(loop, address);
  if (made && address.ends_with(":0")) tell(name, "listening at", (*made)->address());
  return up(std::move(made));
}

}  // namespace

Result<CharSpec> parse_char_spec(std::string_view text) {
  using Kind = CharSpec::Kind;
  const auto after = [text](std::string_view key) { return std::string(text.substr(key.size())); };
  CharSpec spec;
  if (text == "stdio") return spec;
  if (text == "pty") return CharSpec{Kind::pty, {}};
  if (text.starts_with('/')) spec = {Kind::tty, std::string(text)};
  else if (text.starts_with("tcp=")) spec = {Kind::tcp, after("tcp=")};
  else if (text.starts_with("unix=")) spec = {Kind::unix_socket, after("unix=")};
  else if (text.starts_with("pty=")) spec = {Kind::pty, after("pty=")};
  if (spec.argument.empty())
    return fail(EINVAL, "expected stdio, the path of a terminal, tcp=ADDRESS:PORT, unix=PATH, pty or "
                        "pty=LINK");
  if (spec.kind == Kind::tcp)
    if (const auto ok = parse_tcp_address(spec.argument); !ok)
      return tl::make_unexpected(ok.error());
  return spec;
}

Made open_char_backend(EventLoop& loop, std::string_view name, const CharSpec& spec) {
  switch (spec.kind) {
    case CharSpec::Kind::stdio: return up(StdioBackend::open(loop));
    case CharSpec::Kind::tty: return up(TtyBackend::open(loop, spec.argument));
    case CharSpec::Kind::tcp: return open_tcp(loop, name, spec.argument);
    case CharSpec::Kind::unix_socket: return up(SocketBackend::listen_unix(loop, spec.argument));
    case CharSpec::Kind::pty: return open_pty(loop, name, spec.argument);
  }
  return fail(EINVAL, "unknown back end");
}

}  // namespace bhyve::host
