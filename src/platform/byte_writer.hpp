#pragma once
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/types.hpp"

namespace bhyve::platform {

/// Appends little-endian fields: what every firmware table is made of.
class ByteWriter final {
 public:
  ByteWriter& put_u8(u64 v) { return put(v, 1); }
  ByteWriter& put_u16(u64 v) { return put(v, 2); }
  ByteWriter& put_u32(u64 v) { return put(v, 4); }
  ByteWriter& put_u64(u64 v) { return put(v, 8); }
  ByteWriter& put_bytes(std::span<const u8> bytes);
  ByteWriter& put_zeros(usize n);
  /// Exactly `width` bytes: cut, or padded with `pad`.
  ByteWriter& put_text(std::string_view text, usize width, char pad = ' ');

  void set_u8(usize offset, u8 v) { bytes_.at(offset) = v; }
  void set_u16(usize offset, u16 v);
  void set_u32(usize offset, u32 v);
  /// Stores at `offset` the value that makes the bytes [first, first + count) sum to zero.
  void set_checksum(usize offset, usize first, usize count);

  [[nodiscard]] usize size() const { return bytes_.size(); }
  [[nodiscard]] const std::vector<u8>& bytes() const { return bytes_; }
  [[nodiscard]] std::vector<u8> take() { return std::exchange(bytes_, {}); }

 private:
  ByteWriter& put(u64 v, unsigned size);
  std::vector<u8> bytes_;
};

}  // namespace bhyve::platform
