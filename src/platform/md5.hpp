#pragma once
#include <array>
#include <span>

#include "base/types.hpp"

namespace bhyve::platform {

/// MD5 (RFC 1321). For name-based UUIDs only, not for security.
[[nodiscard]] std::array<u8, 16> md5(std::span<const u8> message);

}  // namespace bhyve::platform
