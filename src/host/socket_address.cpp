#include "host/socket_address.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <charconv>
#include <cstring>
#include <new>

#include "base/types.hpp"

namespace bhyve::host {

Result<SocketAddress> parse_tcp_address(std::string_view text) {
  const auto wrong = [text] {
    return fail(EINVAL, "tcp={}: expected ADDRESS:PORT, such as 127.0.0.1:5000 or [::1]:5000", text);
  };
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return wrong();
  const std::string_view digits = text.substr(colon + 1);
  u16 port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size()) return wrong();
  std::string name(text.substr(0, colon));
  SocketAddress out;
  if (name.size() > 2 && name.front() == '[' && name.back() == ']') {
    name = name.substr(1, name.size() - 2);
    auto* const v6 = new (&out.storage) sockaddr_in6{};
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    out.length = sizeof *v6;
    if (::inet_pton(AF_INET6, name.c_str(), &v6->sin6_addr) != 1) return wrong();
    return out;
  }
  if (name == "localhost") name = "127.0.0.1";
  auto* const v4 = new (&out.storage) sockaddr_in{};
  v4->sin_family = AF_INET;
  v4->sin_port = htons(port);
  out.length = sizeof *v4;
  if (::inet_pton(AF_INET, name.c_str(), &v4->sin_addr) != 1) return wrong();
  return out;
}

Result<SocketAddress> unix_address(const std::string& path) {
  SocketAddress out;
  auto* const un = new (&out.storage) sockaddr_un{};
  if (path.empty() || path.size() >= sizeof un->sun_path)
    return fail(ENAMETOOLONG, "unix={}: expected a path of 1 to {} bytes", path,
                sizeof un->sun_path - 1);
  un->sun_family = AF_UNIX;
  std::memcpy(un->sun_path, path.c_str(), path.size() + 1);
  out.length = sizeof *un;
  return out;
}

std::string tcp_address_text(const SocketAddress& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.family() == AF_INET6) {
    sockaddr_in6 v6;
    std::memcpy(&v6, &address.storage, sizeof v6);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    return fmt::format("[{}]:{}", text, ntohs(v6.sin6_port));
  }
  sockaddr_in v4;
  std::memcpy(&v4, &address.storage, sizeof v4);
  ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
  return fmt::format("{}:{}", text, ntohs(v4.sin_port));
}

}  // namespace bhyve::host
