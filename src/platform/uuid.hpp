#pragma once
#include <array>
#include <optional>
#include <string_view>

#include "base/types.hpp"

namespace bhyve::platform {

/// A UUID in the order of its text form (RFC 4122).
using Uuid = std::array<u8, 16>;

/// Version 3: the MD5 of the DNS name space and `name`.
[[nodiscard]] Uuid uuid_from_name(std::string_view name);
/// The 36-character form, either case; none when malformed.
[[nodiscard]] std::optional<Uuid> parse_uuid(std::string_view text);

}  // namespace bhyve::platform
