#pragma once
#include <sys/socket.h>

#include <string>
#include <string_view>

#include "base/error.hpp"

namespace bhyve::host {

/// A socket's own address in the kernel's form.
struct SocketAddress final {
  sockaddr_storage storage{};
  socklen_t length = 0;
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  [[nodiscard]] sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  [[nodiscard]] int family() const { return storage.ss_family; }
};

/// "ADDRESS:PORT" with a numeric IPv4 address, a numeric IPv6 address in brackets, or localhost. The
/// address must be given: listening to the whole network is to be said (0.0.0.0). Port 0 lets the
/// kernel choose. EINVAL for anything else; no name server is asked.
[[nodiscard]] Result<SocketAddress> parse_tcp_address(std::string_view text);
/// A socket in the file system. ENAMETOOLONG above 107 bytes.
[[nodiscard]] Result<SocketAddress> unix_address(const std::string& path);
/// "127.0.0.1:5000", "[::1]:5000".
[[nodiscard]] std::string tcp_address_text(const SocketAddress& address);

}  // namespace bhyve::host
