#include "platform/uuid.hpp"

#include <vector>

#include "platform/md5.hpp"

namespace bhyve::platform {
namespace {

constexpr Uuid dns_namespace{0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1,
                             0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8};

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Uuid uuid_from_name(std::string_view name) {
  constexpr u8 version3 = 0x30, variant_rfc4122 = 0x80;
  std::vector<u8> input(dns_namespace.begin(), dns_namespace.end());
  input.insert(input.end(), name.begin(), name.end());
  Uuid uuid = md5(input);
  uuid[6] = static_cast<u8>((uuid[6] & 0x0f) | version3);
  uuid[8] = static_cast<u8>((uuid[8] & 0x3f) | variant_rfc4122);
  return uuid;
}

std::optional<Uuid> parse_uuid(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  Uuid uuid{};
  usize nibbles = 0;
  for (usize i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash != (text[i] == '-')) return std::nullopt;
    if (dash) continue;
    const int digit = hex_digit(text[i]);
    if (digit < 0) return std::nullopt;
    uuid[nibbles / 2] = static_cast<u8>(uuid[nibbles / 2] << 4 | digit);
    ++nibbles;
  }
  return uuid;
}

}  // namespace bhyve::platform
