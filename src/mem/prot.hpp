#pragma once
#include "base/bits.hpp"

namespace bhyve::mem {
/// Access rights, and the kind of an access.
enum class Prot : u8 { none = 0, read = 1, write = 2, exec = 4, rw = 3, rx = 5, rwx = 7 };
}  // namespace bhyve::mem
template <>
inline constexpr bool bhyve::is_flag_enum<bhyve::mem::Prot> = true;
