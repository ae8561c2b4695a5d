#pragma once
#include <cstring>
#include <span>
#include <type_traits>

#include "base/types.hpp"

namespace bhyve {

/// Little-endian fields of tables and file headers at any alignment. The host is x86-64, so the
/// bytes are the value. The caller guarantees offset + sizeof(T) <= size: lengths are checked once,
/// where the input enters.
template <class T>
  requires std::is_integral_v<T>
[[nodiscard]] T load_le(std::span<const u8> bytes, usize offset) {
  T value;
  std::memcpy(&value, bytes.subspan(offset, sizeof value).data(), sizeof value);
  return value;
}
template <class T>
  requires std::is_integral_v<T>
void store_le(std::span<u8> bytes, usize offset, std::type_identity_t<T> value) {
  std::memcpy(bytes.subspan(offset, sizeof value).data(), &value, sizeof value);
}

}  // namespace bhyve
