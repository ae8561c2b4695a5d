#include "platform/byte_writer.hpp"

#include "base/bytes.hpp"

namespace bhyve::platform {

ByteWriter& ByteWriter::put(u64 v, unsigned size) {
  for (unsigned i = 0; i < size; ++i) bytes_.push_back(static_cast<u8>(v >> (8 * i)));
  return *this;
}

ByteWriter& ByteWriter::put_bytes(std::span<const u8> bytes) {
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  return *this;
}

ByteWriter& ByteWriter::put_zeros(usize n) {
  bytes_.resize(bytes_.size() + n);
  return *this;
}

ByteWriter& ByteWriter::put_text(std::string_view text, usize width, char pad) {
  const std::string_view cut = text.substr(0, width);
  bytes_.insert(bytes_.end(), cut.begin(), cut.end());
  bytes_.insert(bytes_.end(), width - cut.size(), static_cast<u8>(pad));
  return *this;
}

void ByteWriter::set_u16(usize offset, u16 v) { store_le<u16>(bytes_, offset, v); }

void ByteWriter::set_u32(usize offset, u32 v) { store_le<u32>(bytes_, offset, v); }

void ByteWriter::set_checksum(usize offset, usize first, usize count) {
  set_u8(offset, 0);
  u8 sum = 0;
  for (const u8 b : std::span<const u8>(bytes_).subspan(first, count)) {
    sum = static_cast<u8>(sum + b);
  }
  set_u8(offset, static_cast<u8>(-sum));
}

}  // namespace bhyve::platform
